"""Pull and promote: one revision, whole and sealed, on the volume or on the disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cachemgr.domain.errors import TierUnavailable, Usage
from cachemgr.domain.manifest import Manifest
from cachemgr.domain.ref import Ref
from cachemgr.library.answers import Pulled, timestamp
from cachemgr.library.ports import Progress
from cachemgr.library.resolve import Resolution, Resolver, narrowed
from cachemgr.library.shelf import Shelf, within
from cachemgr.library.supply import Supplied, Supply, Wanting
from cachemgr.tiers.snapshots import Sealed


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants where: `volume` asks the origin what the ref is now, `disk` promotes what is known."""

    ref: Ref
    tier: str = "volume"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_stale: bool = False
    fresh: bool = False


class Puller:
    """Fills shelves, the slowest first: with a volume, what reaches the disk is on the volume too."""

    def __init__(self, shelves: Sequence[Shelf], resolver: Resolver, supply: Supply) -> None:
        self._shelves = shelves
        self._resolver = resolver
        self._supply = supply

    async def pull(self, wish: Wish, progress: Progress) -> Pulled:
        """Bring what is wished for to its tier; a tier that has it already costs nothing.

        Raises NoSpace, VerificationFailed, TierUnavailable, Usage and what the origin raises.
        """
        began = time.monotonic()
        onto = self._destinations(wish.tier)
        resolution = await self._resolve(wish)
        wanted = narrowed(resolution.manifest, wish.ref, wish.include, wish.exclude)
        supplied = await self._fill(Wanting(wanted, wish.ref.whole, resolution.resolved_at), onto, progress)
        for shelf in self._shelves:
            # Also where it is not sealed: a reader looks at the disk first, and must not find an older note there.
            if shelf.tier.writable and not resolution.stale:
                await shelf.remember(wish.ref.whole, wanted.revision, resolution.resolved_at)
        shelf = onto[-1]
        sealed = await shelf.find(wanted.id)
        if sealed is None:
            raise TierUnavailable(
                f"{wanted.id} left the {shelf.name} tier while it was sealed there", hint="pull again"
            )
        await shelf.tier.uses.touch(wanted.id)
        return _told(wish, wanted, sealed, shelf, supplied, resolution, time.monotonic() - began)

    def _destinations(self, tier: str) -> list[Shelf]:
        """The shelves to fill for a wish, the one that it names last; without a volume everything ends on the disk."""
        if tier not in ("volume", "disk"):
            raise Usage(f"models are pulled to the volume or the disk, not to {tier!r}")
        writable = [shelf for shelf in self._shelves if shelf.tier.writable]
        volume = [shelf for shelf in writable if shelf.name == "volume"]
        disk = [shelf for shelf in writable if shelf.name == "disk"]
        if tier == "disk" and not disk:
            raise TierUnavailable("there is no writable disk tier", hint="set disk.path to a writable directory")
        onto = [*volume, *disk] if tier == "disk" else volume or disk
        if not onto:
            raise TierUnavailable("no tier can be written", hint="the volume is read-only and there is no disk tier")
        return onto

    async def _resolve(self, wish: Wish) -> Resolution:
        known = None if wish.tier == "volume" or wish.fresh else await self._resolver.recall(wish.ref)
        return known or await self._resolver.ask(wish.ref, wish.allow_stale)

    async def _fill(self, wanting: Wanting, onto: Sequence[Shelf], progress: Progress) -> Supplied:
        manifest = wanting.manifest
        lacking = [shelf for shelf in onto if not await _has(shelf, manifest)]
        if not lacking:
            progress.expect(0, 0)
            return Supplied(0, manifest.bytes)
        best = replace(wanting, manifest=await self._best_known(manifest))
        return await self._supply.seal(best, lacking, self._resolver.origin(manifest.scheme), progress)

    async def _best_known(self, wanted: Manifest) -> Manifest:
        """The same files by their sha256 where some shelf sealed them: a promotion checks against what we computed."""
        for shelf in self._shelves:
            if (sealed := await shelf.find(wanted.id)) is not None:
                wanted = wanted.sealed({entry.path: entry.digest for entry in sealed.manifest.entries})
        return wanted


async def _has(shelf: Shelf, wanted: Manifest) -> bool:
    sealed = await shelf.find(wanted.id)
    return sealed is not None and sealed.manifest.covers(wanted)


def _told(
    wish: Wish,
    wanted: Manifest,
    sealed: Sealed,
    shelf: Shelf,
    supplied: Supplied,
    resolution: Resolution,
    seconds: float,
) -> Pulled:
    return Pulled(
        ref=str(wish.ref),
        id=wanted.id,
        revision=wanted.revision,
        path=str(within(sealed, wish.ref.path)),
        tier=shelf.name,
        bytes=wanted.bytes,
        files=len(wanted.entries),
        fetched_bytes=supplied.fetched_bytes,
        reused_bytes=supplied.reused_bytes,
        seconds=round(seconds, 3),
        resolved_at=timestamp(resolution.resolved_at),
        stale=resolution.stale,
    )
