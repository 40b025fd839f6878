"""Promises: the space for files that several requests want at once is reserved once, and kept until the last leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cachemgr.library.evict import Evictor
from cachemgr.library.ports import Reservation
from cachemgr.library.shelf import Shelf


@dataclass(slots=True)
class _Shared:
    """A reservation, the files that it pays for, and how many requests count on it."""

    reservation: Reservation
    keys: frozenset[str]
    users: int = 0

    def join(self) -> None:
        self.users += 1

    def leave(self) -> None:
        self.users -= 1
        if not self.users:
            self.reservation.release()


class Promises:
    """Knows what is paid for on each shelf, by the key of each file."""

    def __init__(self, evictor: Evictor) -> None:
        self._evictor = evictor
        self._paid: dict[tuple[str, str], _Shared] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    @asynccontextmanager
    async def reserve(self, shelf: Shelf, sizes: Mapping[str, int]) -> AsyncIterator[Mapping[str, Reservation]]:
        """What pays for each of these files; raises NoSpace if what nobody pays for yet has no room."""
        async with self._locks.setdefault(shelf.name, asyncio.Lock()):
            unpaid = [key for key in sizes if (shelf.name, key) not in self._paid]
            if unpaid:
                reservation = await self._evictor.reserve(shelf, sum(sizes[key] for key in unpaid))
                shared = _Shared(reservation, frozenset(unpaid))
                self._paid.update({(shelf.name, key): shared for key in unpaid})
            payers = {key: self._paid[shelf.name, key] for key in sizes}
            distinct = [*{id(shared): shared for shared in payers.values()}.values()]
            for shared in distinct:
                shared.join()
        try:
            yield {key: shared.reservation for key, shared in payers.items()}
        finally:
            for shared in distinct:
                shared.leave()
                if not shared.users:
                    for key in shared.keys:
                        del self._paid[shelf.name, key]
