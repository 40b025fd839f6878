"""One worker does the main job for a person who watches: `make demo`, or `python -m tests.demo`.

A hub, an S3 and a real daemon run on loopback; every step is a real `cachemgr` command, printed before it runs, and
every claim that the demo makes is checked before it is printed. Nothing is left behind.
"""
