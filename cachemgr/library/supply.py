"""Supply: every file of a revision onto the shelves that lack it, paid for before the first byte."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from cachemgr.aio.crowd import each
from cachemgr.domain.digest import Digest
from cachemgr.domain.errors import VerificationFailed
from cachemgr.domain.manifest import Entry, Manifest
from cachemgr.domain.ref import Ref
from cachemgr.library.evict import Evictor
from cachemgr.library.fetch import Fetcher, Order, part_key
from cachemgr.library.ports import Origin, Progress, Reservation
from cachemgr.library.promises import Promises
from cachemgr.library.shelf import Shelf
from cachemgr.tiers.links import BlobGone

SMALL_BYTES = 8 << 20
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Supplied:
    """Where the bytes of a sealed revision came from."""

    fetched_bytes: int
    reused_bytes: int


@dataclass(frozen=True, slots=True)
class Wanting:
    """What is to be sealed, the ref that it is the answer to, and when that was true (seconds since 1970)."""

    manifest: Manifest
    ref: Ref
    resolved_at: float


class Supply:
    """Moves the files of one request side by side, at most `files_at_once` of them."""

    def __init__(self, fetcher: Fetcher, evictor: Evictor, files_at_once: int) -> None:
        self._fetcher = fetcher
        self._promises = Promises(evictor)
        self._files_at_once = files_at_once

    async def seal(self, wanted: Wanting, onto: Sequence[Shelf], origin: Origin, progress: Progress) -> Supplied:
        """Seal a manifest on each of these shelves, with every file that they lack brought there.

        Raises NoSpace before the first byte, VerificationFailed, TierUnavailable and what the origin raises.
        """
        fetched = 0
        for left in reversed(range(_ATTEMPTS)):
            try:
                fetched += await self._attempt(wanted, onto, origin, progress)
                break
            except BlobGone:
                # Another process on this volume took an unlinked blob for waste; what is there still need not move.
                if not left:
                    raise
        return Supplied(fetched, max(0, wanted.manifest.bytes - fetched))

    async def _attempt(self, wanted: Wanting, onto: Sequence[Shelf], origin: Origin, progress: Progress) -> int:
        manifest = wanted.manifest
        keys = {entry.path: part_key(manifest, entry) for entry in manifest.entries}
        files = {keys[entry.path]: entry for entry in manifest.entries}
        async with AsyncExitStack() as stack:
            # Unlinked blobs look like waste to an eviction: say that they are wanted until the seal stands.
            for shelf in onto:
                stack.enter_context(shelf.wanting(files))
            present = {shelf.name: await shelf.locate(files) for shelf in onto}
            lacking = {
                key: entry for key, entry in files.items() if any(key not in there for there in present.values())
            }
            progress.expect(sum(entry.size for entry in lacking.values()), len(lacking))
            room: dict[str, Mapping[str, Reservation]] = {}
            for shelf in onto:
                sizes = {key: entry.size for key, entry in files.items() if key not in present[shelf.name]}
                room[shelf.name] = await stack.enter_async_context(self._promises.reserve(shelf, sizes))
            orders = [
                Order(
                    manifest,
                    entry,
                    key,
                    origin,
                    {name: paid[key] for name, paid in room.items() if key in paid},
                    progress,
                )
                for key, entry in in_load_order(lacking)
            ]
            moved = await self._all(orders, onto)
            digests = {key: digest for there in present.values() for key, digest in there.items()}
            digests |= {key: digest for key, (digest, _) in moved.items()}
            sealed = manifest.sealed({path: digests[key] for path, key in keys.items()})
            for shelf in onto:
                await shelf.publish(sealed, wanted.ref, wanted.resolved_at)
        return sum(size for _, size in moved.values())

    async def _all(self, orders: Sequence[Order], onto: Sequence[Shelf]) -> dict[str, tuple[Digest, int]]:
        moved: dict[str, tuple[Digest, int]] = {}
        wrong: list[VerificationFailed] = []

        async def one(order: Order) -> None:
            try:
                moved[order.key] = await self._fetcher.ensure(order, onto)
            except VerificationFailed as error:
                # One file that is wrong says nothing of the others: they arrive, and the next pull has them.
                wrong.append(error)
            else:
                order.progress.file_done()

        await each(orders, one, self._files_at_once)
        if wrong:
            raise wrong[0]
        return moved


def in_load_order(files: Mapping[str, Entry]) -> list[tuple[str, Entry]]:
    """Small files first, then large ones in the natural order of their names, as loaders read them."""
    return sorted(files.items(), key=lambda file: (file[1].size >= SMALL_BYTES, _natural(file[1].path)))


def _natural(path: str) -> list[tuple[int, int, str]]:
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.split(r"([0-9]+)", path)]
