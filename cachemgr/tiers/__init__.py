"""A tier is a directory where artifacts stay: the shared volume, a host's disk, the container's disk.

This room knows how a tier is laid out, how bytes become blobs there and blobs become sealed snapshots that the Hugging
Face client reads too, how both leave again, who holds what, and how much space is left. Everything is files; nothing is
remembered that a look at the directory would not tell. Any process may be killed at any instant, and several workers
may share a tier.
"""
