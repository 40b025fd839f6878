"""`cachemgr` and `python -m cachemgr`."""

from __future__ import annotations

from cachemgr.cli.app import main

if __name__ == "__main__":
    main()
