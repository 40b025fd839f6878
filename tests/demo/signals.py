"""When signals may interrupt: not while a process starts and nobody knows it yet, nor while all is cleared up."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def deferred() -> Iterator[None]:
    """A signal that comes inside the block is delivered at its end."""
    came: list[int] = []
    with _handled_by(lambda number, _: came.append(number)):
        yield
    for number in came:
        signal.raise_signal(number)


@contextmanager
def ignored() -> Iterator[None]:
    """A signal that comes inside the block is forgotten."""
    with _handled_by(lambda *_: None):
        yield


@contextmanager
def _handled_by(handler: Callable[[int, object], object]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
