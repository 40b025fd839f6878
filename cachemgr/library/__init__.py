"""The read path: acquire, fetch, promote, evict, integrity.

A caller names a model; this room finds out what it is, holds it, brings its bytes to the fastest tier that can take
them, checks them on every move, and answers with a directory. What is answered stands in `answers`, movements as
seen from outside in `transfers`.
"""
