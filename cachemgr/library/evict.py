"""Evict: room for what comes, from what was used least recently, never from what somebody holds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

from cachemgr.domain.errors import Held, NotFound, TierUnavailable
from cachemgr.domain.eviction import Resident, evictable_bytes, plan
from cachemgr.domain.manifest import Manifest
from cachemgr.library.answers import Removed
from cachemgr.library.ports import Reservation
from cachemgr.library.shelf import Shelf
from cachemgr.metrics import Metrics
from cachemgr.tiers.snapshots import Sealed

log = logging.getLogger(__name__)


class Evictor:
    """Makes room on one shelf: what nothing links first, then whole snapshots from the disk, coldest first."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._locks: dict[str, asyncio.Lock] = {}

    async def reserve(self, shelf: Shelf, needed_bytes: int) -> Reservation:
        """Promise so many bytes to one write, evicting for them where that is allowed and enough.

        Raises NoSpace, with nothing evicted when all that could be evicted would not be enough.
        """
        async with self._lock(shelf):
            await shelf.space.refresh()
            if shelf.space.pressure(needed_bytes):
                evictable = await self._evictable(shelf)
                if shelf.space.shortfall(needed_bytes) > evictable:
                    # Before a request is refused, what serves nobody goes; what serves somebody stays.
                    await shelf.purge()
                    await shelf.space.refresh()
                if shelf.space.shortfall(needed_bytes) > evictable:
                    return shelf.space.reserve(needed_bytes, evictable)  # raises, and says what was possible
                await self._make_room(shelf, shelf.space.pressure(needed_bytes), "pressure")
                await shelf.space.refresh()
            return shelf.space.reserve(needed_bytes, 0)

    async def _evictable(self, shelf: Shelf) -> int:
        loose = sum(size for _, size in await shelf.reclaimable())
        return loose if shelf.name != "disk" else loose + evictable_bytes(*await self._residents(shelf))

    async def evict(self, shelf: Shelf, bytes_wanted: int | None, dry_run: bool) -> Removed:
        """Evict the least recently used until `bytes_wanted` are gone (None: as many as it takes to be down at low)."""
        async with self._lock(shelf):
            await shelf.load()
            wanted = shelf.space.above_low() if bytes_wanted is None else bytes_wanted
            if not dry_run:
                ids, freed = await self._make_room(shelf, wanted, "request")
                return Removed(shelf.name, ids, freed, dry_run=False)
            loose = sum(size for _, size in await shelf.reclaimable())
            residents, kept = await self._residents(shelf)
            decision = plan(residents, wanted - loose, kept)
            return Removed(shelf.name, decision.ids, loose + decision.freed_bytes, dry_run=True)

    async def remove(self, shelf: Shelf, id: str, dry_run: bool) -> int:
        """Take one snapshot away; return the bytes that this frees. Raises Held, NotFound, TierUnavailable."""
        if not shelf.tier.writable:
            raise TierUnavailable(f"the {shelf.name} tier at {shelf.tier.root} is read-only", tier=shelf.name)
        async with self._lock(shelf):
            sealed = await shelf.find(id)
            if sealed is None:
                raise NotFound(f"{id} is not on the {shelf.name} tier")
            if dry_run:
                others = (item.manifest for item in shelf.sealed().values() if item.manifest.id != id)
                return evictable_bytes([_resident(sealed.manifest, 0.0)], _blobs(others))
            freed = await self._take(shelf, id)
            if freed is None:
                raise Held(f"{id} is held by a reader on the {shelf.name} tier", tier=shelf.name)
            return freed

    async def _make_room(self, shelf: Shelf, wanted: int, reason: str) -> tuple[tuple[str, ...], int]:
        freed = await shelf.reclaim()
        if freed < wanted:
            freed += await shelf.purge()
        gone: list[str] = []
        skipped: set[str] = set()
        while freed < wanted and shelf.tier.name == "disk":
            residents, kept = await self._residents(shelf)
            decision = plan([item for item in residents if item.id not in skipped], wanted - freed, kept)
            if not decision.ids:
                break
            for id in decision.ids:
                taken = await self._take(shelf, id)
                if taken is None:
                    skipped.add(id)  # a reader came since the plan was made: the next plan does without it
                    continue
                freed += taken
                gone.append(id)
                self.count(reason, taken)
        return tuple(gone), freed

    def count(self, reason: str, freed_bytes: int) -> None:
        """One eviction happened; a person's removal (`rm`) is none."""
        self._metrics.evictions.labels(reason).inc()
        self._metrics.evicted_bytes.inc(freed_bytes)

    async def _take(self, shelf: Shelf, id: str) -> int | None:
        async with shelf.holds.exclusive(id) as free:
            if not free or id in await shelf.tier.pins.all():
                return None
            freed = await shelf.discard(id)
        log.info("snapshot removed", extra={"tier": shelf.name, "snapshot": id, "bytes": freed})
        return freed

    async def _residents(self, shelf: Shelf) -> tuple[list[Resident], frozenset[str]]:
        """Who may leave, and which blobs must stay all the same: those of what is held, pinned or adopted."""
        used = await shelf.tier.uses.all()
        busy = await shelf.holds.held() | await shelf.tier.pins.all()
        may_leave, must_stay = _parted(shelf.sealed(), busy)
        residents = [_resident(item.manifest, used.get(item.manifest.id, item.sealed_at)) for item in may_leave]
        return residents, _blobs(item.manifest for item in must_stay) | shelf.wanted_blobs()

    def _lock(self, shelf: Shelf) -> asyncio.Lock:
        return self._locks.setdefault(shelf.name, asyncio.Lock())


def _parted(sealed: Mapping[str, Sealed], busy: frozenset[str]) -> tuple[list[Sealed], list[Sealed]]:
    may_leave: list[Sealed] = []
    must_stay: list[Sealed] = []
    for id, item in sealed.items():
        (must_stay if item.adopted or id in busy else may_leave).append(item)
    return may_leave, must_stay


def _resident(manifest: Manifest, last_used: float) -> Resident:
    return Resident(manifest.id, {str(entry.digest): entry.size for entry in manifest.entries}, last_used)


def _blobs(manifests: Iterable[Manifest]) -> frozenset[str]:
    return frozenset(str(entry.digest) for manifest in manifests for entry in manifest.entries)
