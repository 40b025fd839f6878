"""Integrity: read again what is sealed, and let nobody have what has gone bad."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cachemgr.aio.crowd import each
from cachemgr.domain.digest import Seen
from cachemgr.domain.errors import NotFound
from cachemgr.domain.manifest import Entry
from cachemgr.domain.ref import Ref
from cachemgr.library.answers import BadFile, Verified
from cachemgr.library.ports import Plane, Progress
from cachemgr.library.resolve import Resolver
from cachemgr.library.shelf import Shelf
from cachemgr.metrics import Metrics
from cachemgr.tiers.snapshots import Sealed

log = logging.getLogger(__name__)

_GONE = "the file is gone"


@dataclass(frozen=True, slots=True)
class _Check:
    shelf: Shelf
    sealed: Sealed
    entry: Entry

    @property
    def path(self) -> Path:
        return self.sealed.path / self.entry.path


class Integrity:
    """Checks sealed files against their seals, `files_at_once` side by side."""

    def __init__(
        self, shelves: Sequence[Shelf], resolver: Resolver, plane: Plane, metrics: Metrics, files_at_once: int
    ) -> None:
        self._shelves = shelves
        self._resolver = resolver
        self._plane = plane
        self._metrics = metrics
        self._files_at_once = files_at_once

    async def verify(self, ref: Ref | None, tier: str | None, progress: Progress) -> Verified:
        """Read every sealed file (of one ref, of one tier) and compare it with its seal; no origin is asked.

        A bad file goes to quarantine and its snapshots lose their seals: the next pull brings only that file. Readers
        that hold such a snapshot keep their directory. Raises NotFound if the ref is sealed nowhere.
        """
        checks = await self._checks(ref, tier)
        progress.expect(sum(check.entry.size for check in checks), len(checks))
        bad: list[BadFile] = []
        condemned: set[str] = set()

        async def one(check: _Check) -> None:
            reason = await self._fault(check, progress)
            if reason is not None and await self._condemned(check, reason, condemned):
                bad.append(BadFile(check.shelf.name, check.sealed.manifest.id, check.entry.path, reason))
            progress.file_done()

        await each(checks, one, self._files_at_once)
        return Verified(len(checks), tuple(sorted(bad, key=lambda item: (item.tier, item.id, item.file))))

    async def _checks(self, ref: Ref | None, tier: str | None) -> list[_Check]:
        id = None
        if ref is not None:
            known = await self._resolver.recall(ref)
            if known is None:
                raise NotFound(f"{ref} is not here", hint=f"`cachemgr pull {ref}` brings it")
            id = known.manifest.id
        checks = []
        for shelf in self._shelves:
            if tier in (None, shelf.name):
                await shelf.look()
                sealed = [item for item in shelf.sealed().values() if id in (None, item.manifest.id)]
                checks += [_Check(shelf, item, entry) for item in sealed for entry in item.manifest.entries]
        return checks

    async def _fault(self, check: _Check, progress: Progress) -> str | None:
        try:
            with check.shelf.translated():
                seen = await self._digest(check, progress)
        except FileNotFoundError:
            return _GONE
        return seen.differs_from(check.entry.size, check.entry.digest)

    async def _digest(self, check: _Check, progress: Progress) -> Seen:
        return await self._plane.digest(check.path, size=check.entry.size, git_sha1=False, progress=progress.moved)

    async def _condemned(self, check: _Check, reason: str, condemned: set[str]) -> bool:
        """Let nobody have a bad file; False if its snapshot only left, and not by us, while it was read."""
        shelf, id = check.shelf, check.sealed.manifest.id
        place = str(check.sealed.path)
        if reason == _GONE and await shelf.find(id) != check.sealed and place not in condemned:
            return False
        condemned.add(place)
        self._metrics.verification_failures.labels("verify").inc()
        about = {"tier": shelf.name, "snapshot": id, "file": check.entry.path, "reason": reason}
        log.error("sealed file is bad", extra=about)
        if reason == _GONE:
            await shelf.unseal(check.sealed)  # its blob may be as good as ever
        else:
            await shelf.condemn(check.entry.digest, reason)
        return True
