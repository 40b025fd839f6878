"""How far transfers are: bars in a terminal; plain lines elsewhere, one per change and every ten seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cachemgr.cli.follow import Display, View
from cachemgr.cli.output import note, width
from cachemgr.cli.words import changed, standing

LINE_SECONDS = 10.0


@contextmanager
def shown(quiet: bool) -> Iterator[Display]:
    """A display that suits stderr, or none."""
    if quiet:
        yield Silent()
    elif width(sys.stderr) is None:
        yield Lines()
    else:
        from cachemgr.cli.bars import Bars  # noqa: PLC0415 - rich loads only where there is a terminal to draw on

        with Bars() as bars:
            yield bars


class Silent:
    """Shows nothing."""

    def show(self, view: View) -> None:
        """Nothing."""

    def tick(self) -> None:
        """Nothing."""


@dataclass
class _Told:
    view: View
    at: float
    done_bytes: int = 0
    state: str = ""


class Lines:
    """One line per change of state, and one every ten seconds, whether bytes move or not."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}

    def show(self, view: View) -> None:
        """A line, if it is time for one."""
        told = self._told.setdefault(view["id"], _Told(view, time.monotonic()))
        told.view = view
        if view["state"] != told.state:
            told.state = view["state"]
            if line := changed(view):
                note(f"{view['ref']}: {line}")
            self._next(told)
        self.tick()

    def tick(self) -> None:
        """A line for each transfer that has been silent for long enough."""
        for told in self._told.values():
            seconds = time.monotonic() - told.at
            if told.state in ("running", "verifying", "queued") and seconds >= LINE_SECONDS:
                moved = int(told.view["done_bytes"]) - told.done_bytes
                note(f"{told.view['ref']}: {standing(told.view, moved / seconds)}")
                self._next(told)

    def _next(self, told: _Told) -> None:
        told.at, told.done_bytes = time.monotonic(), int(told.view["done_bytes"])
