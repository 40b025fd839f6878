"""The models on the tiers, as the API offers them: acquire, list, pin, evict, remove."""

from __future__ import annotations

from collections.abc import Sequence

from cachemgr.domain.errors import Held, NotFound, Usage
from cachemgr.domain.ref import Ref
from cachemgr.library.acquire import Acquirer
from cachemgr.library.answers import Answer, Listed, Removed, timestamp
from cachemgr.library.evict import Evictor
from cachemgr.library.holding import Holding
from cachemgr.library.resolve import Resolver
from cachemgr.library.shelf import Shelf


class Models:
    """One door to the read path for callers that name models by ref or by snapshot id."""

    def __init__(
        self, shelves: Sequence[Shelf], resolver: Resolver, acquirer: Acquirer, evictor: Evictor, holding: Holding
    ) -> None:
        self._shelves = shelves
        self._resolver = resolver
        self._acquirer = acquirer
        self._evictor = evictor
        self._holding = holding

    async def acquire(
        self,
        ref: Ref,
        *,
        wait_seconds: float | None,
        hold_seconds: float,
        tier: str,
        max_age_seconds: float | None,
    ) -> Answer:
        """See Acquirer.acquire."""
        return await self._acquirer.acquire(
            ref,
            wait_seconds=wait_seconds,
            hold_seconds=hold_seconds,
            tier=tier,
            max_age_seconds=max_age_seconds,
        )

    async def renew(self, hold: str, seconds: float) -> str:
        """Move a hold's deadline and return it; raises NotFound if it has ended."""
        return self._holding.renew(hold, seconds)

    async def release(self, hold: str) -> None:
        """End a hold; raises NotFound if it has ended already."""
        self._holding.release(hold)

    async def listed(self, tier: str | None, id: str | None) -> list[Listed]:
        """Every sealed snapshot, the most recently used first; of one tier, or of one id or ref, where given."""
        wanted = None if id is None else await self._id(id)
        rows: list[Listed] = []
        for shelf in self._on(tier):
            if wanted is None:
                await shelf.look()
            else:
                await shelf.find(wanted)
            rows += await self._rows(shelf, wanted)
        if id is not None and not rows:
            raise NotFound(f"{id} is not here", hint="`cachemgr ls` shows what is")
        return sorted(rows, key=lambda row: row.last_used or "", reverse=True)

    async def pin(self, id_or_ref: str, tier: str | None) -> list[Listed]:
        """Protect today's revision from eviction and removal on the tiers where it is; raises NotFound."""
        rows = await self.listed(tier, id_or_ref)
        for row in rows:
            await self._shelf(row.tier).tier.pins.add(row.id)
        return await self.listed(tier, rows[0].id)

    async def unpin(self, id_or_ref: str, tier: str | None) -> list[Listed]:
        """End that protection; raises NotFound."""
        rows = await self.listed(tier, id_or_ref)
        for row in rows:
            await self._shelf(row.tier).tier.pins.remove(row.id)
        return await self.listed(tier, rows[0].id)

    async def remove(self, id_or_ref: str, tier: str | None, dry_run: bool) -> Removed:
        """Remove a snapshot from one tier, or from all; raises NotFound, Held (then nothing was removed)."""
        rows = await self.listed(tier, id_or_ref)
        if busy := [row for row in rows if row.held or row.pinned]:
            why = "pinned" if busy[0].pinned else "held by a reader"
            raise Held(f"{busy[0].id} is {why} on the {busy[0].tier} tier", tier=busy[0].tier)
        freed = 0
        for row in rows:
            freed += await self._evictor.remove(self._shelf(row.tier), row.id, dry_run)
        where = rows[0].tier if len(rows) == 1 else "all"
        return Removed(where, tuple(sorted({row.id for row in rows})), freed, dry_run)

    async def evict(self, tier: str, ref: Ref | None, bytes_wanted: int | None, dry_run: bool) -> Removed:
        """Evict this one, or the least recently used until so many bytes (None: down to low) are gone."""
        if tier == "volume":
            raise Usage("nothing is evicted from the volume", hint="`cachemgr rm --tier volume` removes a model there")
        shelf = self._shelf(tier)
        if ref is None:
            return await self._evictor.evict(shelf, bytes_wanted, dry_run)
        removed = await self.remove(await self._id(str(ref)), tier, dry_run)
        if not dry_run:
            self._evictor.count("request", removed.freed_bytes)
        return removed

    def _on(self, tier: str | None) -> list[Shelf]:
        return [*self._shelves] if tier is None else [self._shelf(tier)]

    def _shelf(self, tier: str) -> Shelf:
        for shelf in self._shelves:
            if shelf.name == tier:
                return shelf
        raise NotFound(f"there is no {tier} tier here", hint="`cachemgr df` shows the tiers")

    async def _id(self, id_or_ref: str) -> str:
        if "://" not in id_or_ref:
            return id_or_ref
        known = await self._resolver.recall(Ref.parse(id_or_ref))
        if known is None:
            raise NotFound(f"{id_or_ref} is not here", hint="`cachemgr ls` shows what is")
        return known.manifest.id

    async def _rows(self, shelf: Shelf, id: str | None) -> list[Listed]:
        held, pinned, used = await shelf.holds.held(), await shelf.tier.pins.all(), await shelf.tier.uses.all()
        names = {(note.ref.name, note.revision): str(note.ref) for note in await shelf.tier.refs.all()}
        return [
            Listed(
                id=item.manifest.id,
                ref=names.get((item.manifest.name, item.manifest.revision), str(item.manifest.ref)),
                revision=item.manifest.revision,
                tier=shelf.name,
                path=str(item.path),
                bytes=item.manifest.bytes,
                files=len(item.manifest.entries),
                last_used=timestamp(used[item.manifest.id]) if item.manifest.id in used else None,
                held=item.manifest.id in held,
                pinned=item.manifest.id in pinned,
                adopted=item.adopted,
            )
            for item in shelf.sealed().values()
            if id in (None, item.manifest.id)
        ]
