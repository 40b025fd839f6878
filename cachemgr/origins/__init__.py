"""Where artifacts come from: each origin says what a ref is right now (a manifest) and how its files are asked for.

Origins are read-only and never answer from a cache: an origin that is away or refuses is an error, not an older
commit. A library that blocks, caches or reads its environment at import works in a child process that ends with its
request; the bytes themselves are moved by the data plane.
"""
