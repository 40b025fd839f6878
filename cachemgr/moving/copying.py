"""Copying and hashing files that are already here: one thread reads and hashes, another writes."""

from __future__ import annotations

import contextlib
import os
import queue
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace

from cachemgr.domain.digest import Seen
from cachemgr.moving.gear import Gear
from cachemgr.moving.hashes import Hashes
from cachemgr.moving.reading import read_full
from cachemgr.moving.sinks import Sinks
from cachemgr.moving.stop import Stop

CELL = 1 << 20
"""How much is read at a time."""

_WRITERS = 2
_LOOK_AGAIN_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Copy:
    """The first `size` bytes of an open file on their way through the hash and into `sinks` (possibly none)."""

    gear: Gear
    stop: Stop
    sinks: Sinks
    hashes: Hashes
    progress: Callable[[int], None]

    def run(self, fd: int, size: int) -> Seen:
        """Read, hash and write; the sinks are not finished yet. Raises OSError and Stopped.

        A file of another size than `size` is seen with its own size, and its digests then mean nothing.
        """
        slot = self.gear.slots.take(self.stop, self.stop)
        try:
            done = self._read(fd, size, slot)
        finally:
            self.gear.slots.give(self.stop, slot)
        seen, found = self.hashes.seen(done), os.fstat(fd).st_size
        return seen if found == size else replace(seen, size=found)

    def _read(self, fd: int, size: int, slot: memoryview) -> int:
        if not self.sinks or size <= CELL:
            return self._alone(fd, size, slot[:CELL])
        cells = [slot[at : at + CELL] for at in range(0, len(slot), CELL)]
        with _Writer(self.gear, self.sinks, cells) as writer:
            return self._ahead_of(writer, fd, size)

    def _alone(self, fd: int, size: int, cell: memoryview) -> int:
        done = 0
        while done < size:
            self.stop.check()
            count = read_full(fd, cell[: size - done], done)
            self.hashes.update(cell[:count])
            self.sinks.spill(cell[:count], done).grown(count)
            self.progress(count)
            done += count
            if count < CELL:
                break
        return done

    def _ahead_of(self, writer: _Writer, fd: int, size: int) -> int:
        done = 0
        while done < size:
            cell = writer.free_cell(self.stop)
            count = read_full(fd, cell[: size - done], done)
            # Written while it is hashed; the writer gives the cell back afterwards.
            writer.write(cell, cell[:count], done)
            self.hashes.update(cell[:count])
            self.progress(count)
            done += count
            if count < CELL:
                break
        return done


class _Writer:
    """Helpers that write cells while the next ones are read and hashed."""

    def __init__(self, gear: Gear, sinks: Sinks, cells: list[memoryview]) -> None:
        self._sinks = sinks
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[tuple[memoryview, memoryview, int] | None] = queue.SimpleQueue()
        self._fault: BaseException | None = None
        for cell in cells:
            self._free.put(cell)
        self._helpers: list[Future[None]] = [gear.crew.help(self._work) for _ in range(_WRITERS)]

    def free_cell(self, stop: Stop) -> memoryview:
        """Wait for a cell to read into; raises Stopped, and what the writing raised."""
        while True:
            stop.check()
            if self._fault is not None:
                raise self._fault
            with contextlib.suppress(queue.Empty):
                return self._free.get(timeout=_LOOK_AGAIN_SECONDS)

    def write(self, cell: memoryview, data: memoryview, offset: int) -> None:
        """Have `data` written, and then give `cell` out again."""
        self._full.put((cell, data, offset))

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Wait until all is written and the helpers are done; raises what the writing raised."""
        for _ in self._helpers:
            self._full.put(None)
        # After a failure, one that has not begun, because all helpers are busy, need not.
        wait([helper for helper in self._helpers if kind is None or not helper.cancel()])
        if kind is None and self._fault is not None:
            raise self._fault

    def _work(self) -> None:
        while (item := self._full.get()) is not None:
            cell, data, offset = item
            try:
                if self._fault is None:
                    self._sinks.spill(data, offset).grown(len(data))
            except BaseException as exc:  # noqa: BLE001 (the reader raises it; it must get its cells back)
                self._fault = exc
            self._free.put(cell)
