"""Space: what a tier holds, what was promised to writes that go on, and what is still free; decided from memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from cachemgr.aio.iopool import IoPool
from cachemgr.domain.errors import NoSpace, TierUnavailable
from cachemgr.domain.marks import Watermarks
from cachemgr.tiers.layout import Layout
from cachemgr.tiers.ledger import Disk, Ledger, Reservation

_TRIES = 3
_BLOCK_BYTES = 512


@dataclass(frozen=True, slots=True)
class Usage:
    """A tier's bytes: of the cache on disk, promised and not there yet, free and promised to nobody, in all.

    Free and total are those of the file system (0 where it does not tell).
    """

    used_bytes: int
    reserved_bytes: int
    free_bytes: int
    total_bytes: int


class Space:
    """The budget of one tier. Decides on the event loop from memory; only `refresh` looks, through the pool.

    Taken is what is on disk and what was promised; free is what the file system has left, without what was promised
    and without the blocks that partial files of full size do not have yet. So a promise counts once, whether its file
    is only promised, allocated, or half written when somebody measures.
    """

    def __init__(
        self, tier: str, root: Path, marks: Watermarks, measure: Callable[[], Awaitable[int]], pool: IoPool
    ) -> None:
        self.marks = marks
        self._tier = tier
        self._root = root
        self._measure = measure
        self._pool = pool
        self._measuring = asyncio.Lock()
        self._ledger = Ledger()

    async def refresh(self) -> None:
        """Measure what is on disk and what is free: others write there, too. Raises TierUnavailable.

        A measurement under which we stored or removed something is repeated; if that goes on, the less favourable of
        it and what we know counts until the next one.
        """
        async with self._measuring:
            for _ in range(_TRIES):
                before = self._ledger.changes
                stored_bytes, disk = await self._look()
                if quiet := self._ledger.changes == before:
                    break
            self._ledger.measured(stored_bytes, disk, quiet)

    def reserve(self, needed_bytes: int, evictable_bytes: int) -> Reservation:
        """Promise so many bytes to one write. Raises NoSpace, which says that `evictable_bytes` could have left."""
        if self.shortfall(needed_bytes):
            raise self._refusal(needed_bytes, evictable_bytes)
        return Reservation(needed_bytes, self._ledger.move)

    def freed(self, n: int) -> None:
        """`n` stored bytes are gone."""
        self._ledger.move(-n, 0)

    def usage(self) -> Usage:
        """From memory: as last measured, and what we did since."""
        ledger = self._ledger
        return Usage(ledger.stored_bytes, ledger.promised_bytes, max(0, ledger.free_bytes or 0), ledger.total_bytes)

    def pressure(self, incoming_bytes: int) -> int:
        """The bytes to evict around a write, so that the next one does not evict again; 0 if there is room."""
        return self.marks.pressure(self._ledger.taken_bytes, self._known_free(), incoming_bytes)

    def shortfall(self, incoming_bytes: int) -> int:
        """The bytes that must go before a write may begin; 0 if `reserve` would promise them now."""
        return self.marks.shortfall(self._ledger.taken_bytes, self._known_free(), incoming_bytes)

    def above_low(self) -> int:
        """The bytes by which the tier is above its low mark, or below its minimum of free space."""
        return self.marks.excess(self._ledger.taken_bytes, self._known_free())

    async def _look(self) -> tuple[int, Disk]:
        try:
            return await self._measure(), await self._pool.run(_look_at, self._root)
        except OSError as error:
            raise TierUnavailable(
                f"the {self._tier} tier at {self._root} cannot be measured: {error.strerror}", tier=self._tier
            ) from error

    def _known_free(self) -> int | None:
        if not self._ledger.known:
            raise TierUnavailable(f"the {self._tier} tier at {self._root} was not measured yet", tier=self._tier)
        return self._ledger.free_bytes

    def _refusal(self, needed_bytes: int, evictable_bytes: int) -> NoSpace:
        ledger = self._ledger
        room = self.marks.room(ledger.taken_bytes, ledger.free_bytes) or 0
        by_mark = self.marks.hard_bytes is not None and room == self.marks.hard_bytes - ledger.taken_bytes
        if by_mark and needed_bytes > (self.marks.hard_bytes or 0):
            hint = f"it is larger than the whole tier may be: raise {self._tier}.hard"
        elif by_mark:
            hint = f"release holds or pins, remove models with `cachemgr rm`, or raise {self._tier}.hard"
        else:
            hint = f"free space on the file system of {self._root}"
            hint += f", or lower {self._tier}.min_free" if self.marks.min_free_bytes else ""
        return NoSpace(
            f"the {self._tier} tier at {self._root} has no room for {needed_bytes:,} bytes",
            needed_bytes=needed_bytes,
            free_bytes=max(0, room),
            evictable_bytes=evictable_bytes,
            hint=hint,
            tier=self._tier,
        )


def _look_at(root: Path) -> Disk:
    about = os.statvfs(root)
    unbacked = _unbacked_bytes(Layout(root).parts)
    # Some FUSE file systems answer zeros: then nothing is known, which is not the same as full.
    free = about.f_bavail * about.f_frsize if about.f_blocks else None
    return Disk(about.f_blocks * about.f_frsize, free, unbacked)


def _unbacked_bytes(parts: Path) -> int:
    """What the files here will take of the file system before they are whole: their sizes without their blocks."""
    total = 0
    try:
        with os.scandir(parts) as entries:
            for entry in entries:
                try:
                    about = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                total += max(0, about.st_size - about.st_blocks * _BLOCK_BYTES)
    except FileNotFoundError:
        pass
    return total
