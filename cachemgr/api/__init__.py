"""HTTP: how everyone else speaks to the library and the checkpoints.

One route table serves a unix socket and, where configured, TCP with a bearer token; request bodies are strict, errors
are problem documents, progress is a stream of server-sent events, and `/openapi.json` is made from the same table. The
admin port beside it only reads memory: metrics, health, and a status page for people.
"""
