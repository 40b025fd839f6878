"""How far a file is on the disk, told now and then so that a later fetch can go on from there."""

from __future__ import annotations

import time
from collections.abc import Callable

from cachemgr.moving.sinks import Sinks

_BYTES = 256 << 20
_SECONDS = 5.0


class Frontier:
    """Tells `told` how many bytes from the beginning were written and then fsynced.

    Every 256 MiB, or every few seconds where they come slowly, and once more when the fetch ends early. Whoever goes
    on from there hashes them again, from the disk.
    """

    def __init__(self, sinks: Sinks, told: Callable[[int], None] | None, *, seconds: float = _SECONDS) -> None:
        self._sinks = sinks
        self._told = told
        self._seconds = seconds
        self._at = 0
        self._recorded = 0
        self._since = time.monotonic()

    def pass_by(self, at: int) -> None:
        """All bytes before `at` are written; nobody is told yet."""
        self._at = at

    def advance(self, at: int) -> None:
        """All bytes before `at` are hashed and written; raises OSError."""
        self.pass_by(at)
        if at - self._recorded >= _BYTES or time.monotonic() - self._since >= self._seconds:
            self.record()

    def record(self) -> None:
        """Sync, and tell how far it is; raises OSError."""
        if self._told is None or self._at <= self._recorded:
            return
        self._sinks.sync()
        self._told(self._at)
        self._recorded, self._since = self._at, time.monotonic()
