"""Eviction: which snapshots leave, so that enough bytes become free."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, count
from operator import attrgetter


@dataclass(frozen=True, slots=True)
class Resident:
    """A snapshot that may leave: its blobs with their sizes, and when it was last used (seconds since 1970)."""

    id: str
    bytes_by_blob: Mapping[str, int]
    last_used: float


@dataclass(frozen=True, slots=True)
class EvictionPlan:
    """Who leaves, coldest first, and the bytes that this frees; `enough` says whether that is what was asked for."""

    ids: tuple[str, ...]
    freed_bytes: int
    enough: bool


def plan(residents: Iterable[Resident], bytes_needed: int, kept_blobs: Collection[str] = frozenset()) -> EvictionPlan:
    """Take whole snapshots, least recently used first, until enough bytes are free.

    A blob that a staying snapshot shares is kept: only the last reference frees bytes. `kept_blobs` are those that
    something outside `residents` needs (what is held, pinned, adopted, or about to be linked). A snapshot whose
    leaving would free nothing stays. If all together are not enough, the plan takes them all and says so.
    """
    if bytes_needed <= 0:
        return EvictionPlan((), 0, True)
    known = list(residents)
    references = Counter(chain.from_iterable(map(attrgetter("bytes_by_blob"), known)))
    references.update(dict.fromkeys(kept_blobs, 1))
    # A heap and not a sort: most plans take few of many.
    coldest = list(zip(map(attrgetter("last_used"), known), map(attrgetter("id"), known), count()))
    heapq.heapify(coldest)
    chosen: list[Resident] = []
    freed = 0
    while coldest and freed < bytes_needed:
        resident = known[heapq.heappop(coldest)[2]]
        freed += _leave(resident, references)
        chosen.append(resident)
    leaving = tuple(resident.id for resident in chosen if _frees(resident, references))
    return EvictionPlan(leaving, freed, freed >= bytes_needed)


def evictable_bytes(residents: Iterable[Resident], kept_blobs: Collection[str] = frozenset()) -> int:
    """What would become free if all of them left; each blob counts once."""
    sizes: dict[str, int] = {}
    for resident in residents:
        sizes.update(resident.bytes_by_blob)
    return sum(size for blob, size in sizes.items() if blob not in kept_blobs)


def _leave(resident: Resident, references: Counter[str]) -> int:
    freed = 0
    for blob, size in resident.bytes_by_blob.items():
        references[blob] -= 1
        if references[blob] == 0:
            freed += size
    return freed


def _frees(resident: Resident, references: Mapping[str, int]) -> bool:
    return any(size and not references[blob] for blob, size in resident.bytes_by_blob.items())
