"""Snapshots: one revision laid out as a directory of real files, sealed once it is complete; absent before."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from cachemgr.aio.iopool import IoPool
from cachemgr.domain.digest import Digest
from cachemgr.domain.errors import TierUnavailable
from cachemgr.domain.manifest import Manifest
from cachemgr.domain.ref import Ref
from cachemgr.tiers.access import Access
from cachemgr.tiers.laying import Changed, Stamp
from cachemgr.tiers.layout import Layout
from cachemgr.tiers.ports import Hasher
from cachemgr.tiers.publication import Publication
from cachemgr.tiers.removal import Removal
from cachemgr.tiers.seals import Sealed, SealFiles

__all__ = ["Exclusive", "Sealed", "SnapshotStore"]

log = logging.getLogger(__name__)

_ATTEMPTS = 5

Exclusive = Callable[[str], AbstractAsyncContextManager[bool]]
"""Nobody reads or publishes this snapshot inside the block, if True; see the tier's holds."""


class SnapshotStore:
    """The sealed snapshots of one tier."""

    def __init__(self, layout: Layout, access: Access, pool: IoPool, hasher: Hasher) -> None:
        self._layout = layout
        self._access = access
        self._pool = pool
        self._hasher = hasher
        self._seals = SealFiles(layout)
        self._removal = Removal(layout, self._seals)

    def directory(self, manifest: Manifest) -> Path:
        """Where the files of a revision lie once it is sealed."""
        return self._layout.snapshot(manifest)

    async def scan(self) -> list[Sealed]:
        """All that is sealed here; damaged seals, and those whose directory is gone, are logged and left out."""
        return await self._pool.run(self._scan)

    async def find(self, id: str) -> Sealed | None:
        """The sealed snapshot of this id, by a fresh look at the files."""
        return await self._pool.run(self._find, id)

    async def publish(self, manifest: Manifest, ref: Ref | None, resolved_at: float | None = None) -> Sealed:
        """Seal a manifest whose entries all carry a sha256 that is a blob here; name it `ref`, for us and hub clients.

        Safe to repeat, at any time and by several workers. What is sealed already is completed (a filtered snapshot
        becomes wider, a missing file comes back), never narrowed. Raises BlobGone, VerificationFailed,
        TierUnavailable, OSError; after any of them the snapshot is what it was before, or sealed.
        """
        self._access.check()
        at = time.time() if resolved_at is None else resolved_at
        publication = Publication(self._layout, self._seals, manifest)
        right: dict[str, Stamp] = {}
        for _ in range(_ATTEMPTS):
            suspects = await self._pool.run(publication.survey)
            right = await self._right(manifest, suspects, right)
            try:
                return await self._pool.run(publication.publish, right, ref, at)
            except Changed as changed:
                log.info("a snapshot changed while it was published", extra={"id": manifest.id, "file": str(changed)})
        raise TierUnavailable(f"others keep changing {self.directory(manifest)}", hint="stop them, and pull again")

    async def discard(self, id: str) -> int:
        """Remove a snapshot from the last step of its publication to the first; the bytes freed without counting blobs.

        The caller holds exclusivity. Safe to repeat: it finishes what a crash interrupted.
        """
        self._access.check()
        return await self._pool.run(self._removal.discard, id)

    async def unseal(self, id: str) -> None:
        """Make a snapshot absent but leave its files, which the next publish looks at one by one."""
        self._access.check()
        await self._pool.run(self._seals.remove, id)

    async def sweep(self, exclusive: Exclusive) -> None:
        """Finish the removals and clear the workspaces of processes that have ended."""
        self._access.check()
        for trash, id in await self._pool.run(lambda: [*self._removal.unfinished()]):
            async with exclusive(id) as alone:
                if alone:
                    await self._pool.run(self._removal.finish, trash)
        await self._pool.run(self._removal.sweep)

    def _scan(self) -> list[Sealed]:
        return [sealed for seal in self._seals.all() if (sealed := self._seals.present(seal)) is not None]

    def _find(self, id: str) -> Sealed | None:
        return self._seals.present(self._seals.peek(id))

    async def _right(
        self, manifest: Manifest, suspects: Mapping[str, Stamp], before: Mapping[str, Stamp]
    ) -> dict[str, Stamp]:
        """Those of others' files whose bytes are right; `before`: what an earlier attempt found right."""
        right = {}
        for entry in manifest.entries:
            stamp, path = suspects.get(entry.path), self.directory(manifest) / entry.path
            if stamp is not None and (
                before.get(entry.path) == stamp or await self._matches(path, entry.size, entry.digest)
            ):
                right[entry.path] = stamp
        return right

    async def _matches(self, path: Path, size: int, digest: Digest) -> bool:
        try:
            seen = await self._hasher.digest(path, size=size, git_sha1=False, progress=lambda _: None)
        except OSError:
            return False
        return seen.differs_from(size, digest) is None
