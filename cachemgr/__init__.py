"""cachemgr: the right model bytes on a GPU worker, verified, before anyone waits for them."""

__version__ = "0.1.0"
