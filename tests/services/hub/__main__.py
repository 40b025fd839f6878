"""The hub as a command: `python -m tests.services.hub --root DIR --model acme/m20` prints its URL, ends on SIGTERM."""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path

from tests.services.hub.faults import Fault
from tests.services.hub.models import model_m20
from tests.services.hub.server import Hub


def main() -> None:
    """Serve until told to stop."""
    options = _parser().parse_args()
    hub = Hub(options.root, host=options.host, port=options.port)
    hub.options.page_size = options.page_size
    for number, name in enumerate(options.model):
        hub.add_repo(name, model_m20(options.scale, seed=20 + number))
    if options.bytes_per_second:
        hub.fault(Fault("slow", "*", times=None, rate=options.bytes_per_second))
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    print(hub.url, flush=True)
    done.wait()
    hub.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.services.hub", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="where generated files are kept and found again")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--model", action="append", default=[], metavar="ORG/NAME", help="a 20-file model to serve")
    parser.add_argument("--scale", type=float, default=1.0, help="of the models' sizes; 1.0 is 1.28 GB each")
    parser.add_argument("--page-size", type=int, default=1000, help="entries per page of a tree")
    parser.add_argument("--bytes-per-second", type=int, default=0, help="limit of both origins together")
    return parser


if __name__ == "__main__":
    main()
