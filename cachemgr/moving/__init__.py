"""The data plane: moves large bytes between origins, tiers and buckets, and hashes them on the way.

Threads, not the event loop, do the work: each receives or reads into page-aligned buffers, hashes what it just
touched and writes it past the page cache where the file system lets it. Memory is bounded for all movements together,
a cancelled movement has ended when its caller hears of it, and nothing is reported moved before it was written, fsynced
and closed without an error. What the bytes mean, whether they are right and where they belong is decided elsewhere.
Proxies named in the environment are not used.
"""
