"""The record of what was asked: every request with its answer's status and the bytes that left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `origin` is hub or cdn; `file` is `repo/path` if a file's bytes or head were asked for."""

    origin: str
    method: str
    path: str
    file: str | None
    status: int
    bytes: int
    agent: str
    range: str | None
    authorized: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """Which requests to count: shell patterns; None means any."""

    origin: str | None = None
    method: str | None = None
    path: str | None = None
    file: str | None = None
    agent: str | None = None

    def takes(self, asked: Asked) -> bool:
        """True if the request is one of these."""
        wanted = {name: pattern for name, pattern in asdict(self).items() if pattern is not None}
        return all(_fits(getattr(asked, name), pattern) for name, pattern in wanted.items())


def _fits(value: str | None, pattern: str) -> bool:
    return value is not None and fnmatchcase(value, pattern)


class Journal:
    """Counts requests and bytes; a body that broke off counts with the bytes that were sent.

    A question waits (shortly) until no answer is on its way, so that who has received an answer finds it counted.
    """

    def __init__(self) -> None:
        self._quiet = threading.Condition()
        self._busy = 0
        self._asked: list[Asked] = []

    @contextmanager
    def busy(self) -> Iterator[None]:
        """While a request is being answered."""
        with self._quiet:
            self._busy += 1
        try:
            yield
        finally:
            with self._quiet:
                self._busy -= 1
                self._quiet.notify_all()

    @contextmanager
    def idle(self) -> Iterator[None]:
        """While an answer is stalled on purpose: nobody waits for that."""
        with self._quiet:
            self._busy -= 1
            self._quiet.notify_all()
        try:
            yield
        finally:
            with self._quiet:
                self._busy += 1

    def add(self, asked: Asked) -> None:
        """Record one finished request."""
        with self._quiet:
            self._asked.append(asked)

    def clear(self) -> None:
        """Forget everything so far."""
        with self._quiet:
            self._quiet.wait_for(lambda: self._busy == 0, timeout=1)
            self._asked.clear()

    def requests(self, selection: Selection | None = None) -> list[Asked]:
        """The requests of this selection, oldest first."""
        takes: Callable[[Asked], bool] = (selection or Selection()).takes
        with self._quiet:
            self._quiet.wait_for(lambda: self._busy == 0, timeout=1)
            return [asked for asked in self._asked if takes(asked)]
