"""Watermarks: how full a tier may become, when it is evicted from and how far, and when it refuses."""

from __future__ import annotations

from dataclasses import dataclass

from cachemgr.domain.errors import Usage


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Evict above `high` down to `low`, refuse above `hard`; leave `min_free` of the file system to others.

    The three marks count the cache's own bytes, promised ones included. A tier without marks has no limit of ours:
    what its file system refuses is the limit. Free bytes are those of the file system without what was promised;
    None where the file system does not tell.
    """

    low_bytes: int | None
    high_bytes: int | None
    hard_bytes: int | None
    min_free_bytes: int

    def __post_init__(self) -> None:
        if self.min_free_bytes < 0:
            raise Usage(f"min_free is {self.min_free_bytes} bytes, below zero")
        given = [mark for mark in (self.low_bytes, self.high_bytes, self.hard_bytes) if mark is not None]
        if given and (len(given) < 3 or given != sorted(given) or given[0] < 0):
            raise Usage(
                f"the marks low {self.low_bytes}, high {self.high_bytes} and hard {self.hard_bytes} are out of order",
                hint="give all three or none, low <= high <= hard",
            )

    @classmethod
    def unlimited(cls, min_free_bytes: int = 0) -> Watermarks:
        """No marks of our own."""
        return cls(None, None, None, min_free_bytes)

    def room(self, used_bytes: int, free_bytes: int | None) -> int | None:
        """The bytes that may still be taken, negative where too much is taken already; None if nothing says so."""
        limits = []
        if self.hard_bytes is not None:
            limits.append(self.hard_bytes - used_bytes)
        if free_bytes is not None:
            limits.append(free_bytes - self.min_free_bytes)
        return min(limits, default=None)

    def shortfall(self, used_bytes: int, free_bytes: int | None, incoming_bytes: int) -> int:
        """The bytes that must go before `incoming_bytes` may be taken; 0 if they may be taken now."""
        room = self.room(used_bytes, free_bytes)
        return 0 if room is None or incoming_bytes <= 0 else max(0, incoming_bytes - room)

    def pressure(self, used_bytes: int, free_bytes: int | None, incoming_bytes: int) -> int:
        """The bytes to evict around a write of `incoming_bytes`; 0 while it leaves the tier at or below high.

        Once above high, or with too little free, eviction goes on until used <= low and free >= min_free, so that
        the next write does not evict again. A write that is itself above low is only made to fit below the next mark.
        """
        used = used_bytes + incoming_bytes
        lacking_free = 0 if free_bytes is None else max(0, self.min_free_bytes + incoming_bytes - free_bytes)
        if self.high_bytes is None or self.low_bytes is None or self.hard_bytes is None:
            return lacking_free
        if used <= self.high_bytes and not lacking_free:
            return 0
        marks = (self.low_bytes, self.high_bytes, self.hard_bytes)
        target = next((mark for mark in marks if incoming_bytes <= mark), self.hard_bytes)
        return max(0, used - target, lacking_free)

    def excess(self, used_bytes: int, free_bytes: int | None) -> int:
        """The bytes above low, or lacking in free space: what a person's `evict` takes away."""
        above_low = 0 if self.low_bytes is None else used_bytes - self.low_bytes
        lacking_free = 0 if free_bytes is None else self.min_free_bytes - free_bytes
        return max(0, above_low, lacking_free)
