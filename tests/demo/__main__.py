"""`python -m tests.demo`: the main job, watched; exit code 0 if all of it went well."""

from __future__ import annotations

import signal
import sys

from tests.demo.play import play
from tests.demo.screen import Screen
from tests.demo.stage import stage
from tests.demo.story import STEPS, prepare


def main() -> int:
    """Play it; an interruption stops and removes everything, too."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    try:
        return play(Screen(), stage, prepare, STEPS)
    except KeyboardInterrupt:
        print("\ninterrupted: everything is stopped and removed")
        return 130


def _leave(number: int, _: object) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
