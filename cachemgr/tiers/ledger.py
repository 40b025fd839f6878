"""The ledger of one tier: bytes on disk, bytes promised, bytes free; each counted once. Arithmetic only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system as it says it is, and the bytes that partial files of ours will still take there."""

    total_bytes: int
    free_bytes: int | None
    unbacked_bytes: int


@dataclass(slots=True)
class Ledger:
    """What a tier holds and has left, as last measured and moved since; `free_bytes` is without what was promised.

    None where the file system does not tell. `changes` counts what happened on disk.
    """

    stored_bytes: int = 0
    promised_bytes: int = 0
    free_bytes: int | None = None
    total_bytes: int = 0
    changes: int = 0
    known: bool = False

    @property
    def taken_bytes(self) -> int:
        """What counts against the marks."""
        return self.stored_bytes + self.promised_bytes

    def move(self, on_disk: int, promised: int) -> None:
        """So many bytes more are on disk, and so many more are promised."""
        self.stored_bytes = max(0, self.stored_bytes + on_disk)
        self.promised_bytes += promised
        if self.free_bytes is not None:
            self.free_bytes -= on_disk + promised
        self.changes += on_disk != 0

    def measured(self, stored_bytes: int, disk: Disk, quiet: bool) -> None:
        """Take over a measurement; one that was not quiet only where it is less favourable than what is known."""
        free = None if disk.free_bytes is None else disk.free_bytes - disk.unbacked_bytes - self.promised_bytes
        if self.known and not quiet:
            stored_bytes = max(stored_bytes, self.stored_bytes)
            free = free if free is None or self.free_bytes is None else min(free, self.free_bytes)
        self.stored_bytes, self.free_bytes, self.total_bytes = stored_bytes, free, disk.total_bytes
        self.known = True


class Reservation:
    """Bytes promised to one write; leaving its block gives back what was not committed.

    `move(on_disk, promised)` is told by how much either changes.
    """

    def __init__(self, needed_bytes: int, move: Callable[[int, int], None]) -> None:
        self._needed_bytes = self._on_disk_bytes = self._committed_bytes = 0
        self._move = move
        self._ended = False
        self._become(needed_bytes, 0)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def allocated(self, n: int) -> Allocation:
        """A file of `n` bytes of it is on disk from now on, where a measurement sees it."""
        return Allocation(self, n)

    def release(self) -> None:
        """Give back what was not committed; doing it twice is harmless."""
        self._ended = True
        self._become(self._committed_bytes, self._committed_bytes)

    def _commit(self, n: int) -> None:
        self._committed_bytes += n
        if self._ended:
            # Work that several asked for may outlast the one on whose promise it was begun: it is stored all the same.
            self._become(self._committed_bytes, self._committed_bytes)

    def _allocate(self, n: int) -> None:
        if not self._ended:
            self._become(self._needed_bytes, self._on_disk_bytes + n)

    def _become(self, needed_bytes: int, on_disk_bytes: int) -> None:
        outstanding = max(0, needed_bytes - on_disk_bytes)
        before = max(0, self._needed_bytes - self._on_disk_bytes)
        self._move(on_disk_bytes - self._on_disk_bytes, outstanding - before)
        self._needed_bytes, self._on_disk_bytes = needed_bytes, on_disk_bytes


class Allocation:
    """A file of a reservation that is on disk; leaving its block without `commit` says that it is gone again."""

    def __init__(self, reservation: Reservation, n: int) -> None:
        self._reservation = reservation
        self._bytes = n
        self._committed = False
        reservation._allocate(n)

    def __enter__(self) -> Allocation:
        return self

    def __exit__(self, *exc: object) -> None:
        if not self._committed:
            self._reservation._allocate(-self._bytes)

    def commit(self) -> None:
        """It is stored for good, also if its reservation has ended meanwhile."""
        if not self._committed:
            self._committed = True
            self._reservation._commit(self._bytes)
