"""Bounded memory: page-aligned buffers that all movements share."""

from __future__ import annotations

import mmap
import threading
from collections import Counter

from cachemgr.moving.stop import Stop

_LOOK_AGAIN_SECONDS = 0.2


class Slots:
    """Buffers of `size_bytes` each; at most `limit` are out, except that nobody who has none waits for one.

    Without that exception a movement stuck on a hung volume could take memory that another one, to a healthy disk,
    is waiting for. Buffers are private anonymous mappings: a page that is never touched costs nothing, and all of them
    go back to the system when the last one comes home.
    """

    def __init__(self, size_bytes: int, limit: int) -> None:
        self.size_bytes = size_bytes
        self._limit = limit
        self._changed = threading.Condition()
        self._out: Counter[object] = Counter()
        self._idle: list[memoryview] = []
        self.most_out = 0

    def take(self, owner: object, stop: Stop) -> memoryview:
        """Wait for a buffer; raises Stopped."""
        with self._changed:
            while self._out[owner] and self._out.total() >= self._limit:
                stop.check()
                self._changed.wait(_LOOK_AGAIN_SECONDS)
            stop.check()
            self._out[owner] += 1
            self.most_out = max(self.most_out, self._out.total())
            return self._idle.pop() if self._idle else self._new()

    def give(self, owner: object, slot: memoryview) -> None:
        """Bring a buffer home; nobody may look at it any more."""
        with self._changed:
            self._out[owner] -= 1
            if not self._out[owner]:
                del self._out[owner]
            # A mapping ends with its last reference.
            if not self._out:
                self._idle.clear()
            elif self._out.total() + len(self._idle) < self._limit:
                self._idle.append(slot)
            self._changed.notify_all()

    def _new(self) -> memoryview:
        return memoryview(mmap.mmap(-1, self.size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
