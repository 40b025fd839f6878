"""A model hub that the real `huggingface_hub` client talks to, with faults on demand and a record of every request.

`server.hub_server()` runs it inside a test, `python -m tests.services.hub` as a process; it stands for two origins,
the hub itself and the content network that large files are redirected to.
"""
