"""Supply: every file of a revision onto the shelves that lack it, paid for before the first byte."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from cachemgr.domain.digest import Digest
from cachemgr.domain.errors import VerificationFailed
from cachemgr.domain.manifest import Entry, Manifest
from cachemgr.domain.ref import Ref
from cachemgr.library.evict import Evictor
from cachemgr.library.fetch import Fetcher, Order, part_key
from cachemgr.library.ports import Origin, Progress, Reservation
from cachemgr.library.shelf import Shelf
from cachemgr.tiers.links import BlobGone

SMALL_BYTES = 8 << 20
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Supplied:
    """Where the bytes of a sealed revision came from."""

    fetched_bytes: int
    reused_bytes: int


class Supply:
    """Moves the files of one request side by side, at most `files_at_once` of them."""

    def __init__(self, fetcher: Fetcher, evictor: Evictor, files_at_once: int) -> None:
        self._fetcher = fetcher
        self._evictor = evictor
        self._files_at_once = files_at_once

    async def seal(
        self, manifest: Manifest, ref: Ref, onto: Sequence[Shelf], origin: Origin, progress: Progress
    ) -> Supplied:
        """Seal `manifest` on each of these shelves, with every file that they lack brought there.

        Raises NoSpace before the first byte, VerificationFailed, TierUnavailable and what the origin raises.
        """
        fetched = 0
        for attempt in range(_ATTEMPTS):
            try:
                fetched += await self._attempt(manifest, ref, onto, origin, progress)
                break
            except BlobGone:
                # Another process on this volume took an unlinked blob for waste; what is there still need not move.
                if attempt == _ATTEMPTS - 1:
                    raise
        return Supplied(fetched, manifest.bytes - fetched)

    async def _attempt(
        self, manifest: Manifest, ref: Ref, onto: Sequence[Shelf], origin: Origin, progress: Progress
    ) -> int:
        present = {shelf.name: await self._present(manifest, shelf) for shelf in onto}
        lacking = [entry for entry in manifest.entries if any(entry.path not in there for there in present.values())]
        progress.expect(sum(entry.size for entry in lacking), len(lacking))
        digests = {path: digest for there in present.values() for path, digest in there.items()}
        with ExitStack() as stack:
            # Unlinked blobs look like waste to an eviction: say that they are wanted until the seal stands.
            for shelf in onto:
                stack.enter_context(shelf.wanting({*digests.values(), *(entry.digest for entry in manifest.entries)}))
            room: dict[str, Reservation] = {}
            for shelf in onto:
                needed = sum(entry.size for entry in manifest.entries if entry.path not in present[shelf.name])
                room[shelf.name] = stack.enter_context(await self._evictor.reserve(shelf, needed))
            orders = [Order(manifest, entry, origin, room, progress) for entry in in_load_order(lacking)]
            moved = await self._all(orders, onto)
            sealed = manifest.sealed(digests | {path: digest for path, (digest, _) in moved.items()})
            for shelf in onto:
                await shelf.publish(sealed, ref)
        return sum(size for _, size in moved.values())

    async def _present(self, manifest: Manifest, shelf: Shelf) -> Mapping[str, Digest]:
        found = {}
        for entry in manifest.entries:
            if (digest := await shelf.locate(entry, part_key(manifest, entry))) is not None:
                found[entry.path] = digest
        return found

    async def _all(self, orders: Sequence[Order], onto: Sequence[Shelf]) -> dict[str, tuple[Digest, int]]:
        slots = asyncio.Semaphore(self._files_at_once)
        moved: dict[str, tuple[Digest, int]] = {}
        wrong: list[VerificationFailed] = []

        async def one(order: Order) -> None:
            async with slots:
                try:
                    moved[order.entry.path] = await self._fetcher.ensure(order, onto)
                except VerificationFailed as error:
                    # One file that is wrong says nothing of the others: they arrive, and the next pull has them.
                    wrong.append(error)
                else:
                    order.progress.file_done()

        async with asyncio.TaskGroup() as group:
            for order in orders:
                group.create_task(one(order), name=f"supply {order.entry.path}")
        if wrong:
            raise wrong[0]
        return moved


def in_load_order(entries: Sequence[Entry]) -> list[Entry]:
    """Small files first, then large ones in the natural order of their names, as loaders read them."""
    return sorted(entries, key=lambda entry: (entry.size >= SMALL_BYTES, _natural(entry.path)))


def _natural(path: str) -> list[tuple[int, int, str]]:
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.split(r"([0-9]+)", path)]
