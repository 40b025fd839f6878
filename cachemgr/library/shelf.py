"""A shelf: one tier as the read path uses it, with its holds, its budget and an index of what is sealed there."""

from __future__ import annotations

import errno
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cachemgr.domain.digest import Digest
from cachemgr.domain.errors import CachemgrError, NoSpace, TierUnavailable
from cachemgr.domain.manifest import Entry, Manifest
from cachemgr.domain.ref import Ref
from cachemgr.library.ports import Blobs, Holds, Space, Tier
from cachemgr.tiers.snapshots import Sealed

log = logging.getLogger(__name__)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Shelf:
    """The files are the truth; what is kept here in memory can be rebuilt by `load`."""

    def __init__(self, tier: Tier, holds: Holds, space: Space) -> None:
        self.tier = tier
        self.holds = holds
        self.space = space
        self._sealed: dict[str, Sealed] = {}
        self._by_etag: dict[str, Digest] = {}
        self._wanted: Counter[Digest] = Counter()

    @property
    def name(self) -> str:
        return self.tier.name

    @property
    def blobs(self) -> Blobs:
        return self.tier.blobs

    async def load(self) -> None:
        """Look at the directories again: what is sealed, and how much space it takes."""
        found = {sealed.manifest.id: sealed for sealed in await self.tier.snapshots.scan()}
        self._sealed = found
        for sealed in found.values():
            self._learn(sealed.manifest)
        await self.space.refresh()

    def sealed(self) -> Mapping[str, Sealed]:
        """What is sealed here, as last seen."""
        return self._sealed

    async def find(self, id: str) -> Sealed | None:
        """What is sealed under this id right now: a fresh look at the files, since others write there too."""
        sealed = await self.tier.snapshots.find(id)
        if sealed is None:
            self._sealed.pop(id, None)
        else:
            self._sealed[id] = sealed
        return sealed

    async def publish(self, manifest: Manifest, ref: Ref | None) -> Sealed:
        """Seal a manifest whose blobs are all here; raises NoSpace, TierUnavailable."""
        with self.translated():
            sealed = await self.tier.snapshots.publish(manifest, ref)
        self._sealed[manifest.id] = sealed
        self._learn(sealed.manifest)
        return sealed

    async def discard(self, id: str) -> int:
        """Take a snapshot away with the blobs that nothing else needs; return the bytes that this freed.

        The caller has made sure that nobody holds it.
        """
        sealed = await self.find(id)
        freed = await self.tier.snapshots.discard(id)
        self._sealed.pop(id, None)
        if sealed is not None:
            for digest in {entry.digest for entry in sealed.manifest.entries} - self._wanted.keys():
                freed += await self.blobs.reclaim(digest)
        self.space.freed(freed)
        return freed

    async def condemn(self, digest: Digest, reason: str) -> None:
        """Bytes of this digest have gone bad: move them to quarantine and unseal every snapshot that has them.

        The directories stay for those who read them now; sealing them again replaces the bad file only.
        """
        await self.blobs.condemn(digest, reason)
        for id, sealed in [*self._sealed.items()]:
            if any(entry.digest == digest for entry in sealed.manifest.entries):
                await self.tier.snapshots.unseal(id)
                self._sealed.pop(id, None)

    async def reclaim(self) -> int:
        """Take away the blobs that no snapshot links and nobody is about to link; return the bytes freed."""
        freed = 0
        for digest, _ in await self.reclaimable():
            freed += await self.blobs.reclaim(digest)
        self.space.freed(freed)
        return freed

    async def reclaimable(self) -> list[tuple[Digest, int]]:
        """The blobs that `reclaim` would take, with their sizes."""
        return [(digest, size) for digest, size in await self.blobs.reclaimable() if digest not in self._wanted]

    async def locate(self, entry: Entry, key: str) -> Digest | None:
        """The digest of an entry's blob, if it is here: by the origin's word, or by what we saw when it came."""
        digest: Digest | None = entry.digest
        if entry.digest.algorithm != "sha256":
            digest = self._by_etag.get(entry.etag or "") or await self.blobs.known(key)
        if digest is None or await self.blobs.contains(digest) != entry.size:
            return None
        return digest

    def wanted_blobs(self) -> frozenset[str]:
        """The digests of the blobs that are about to be linked."""
        return frozenset(str(digest) for digest in self._wanted)

    @contextmanager
    def wanting(self, digests: Iterable[Digest]) -> Iterator[None]:
        """Keep these blobs while they are about to be linked; nobody else could tell that they are needed."""
        kept = [*digests]
        self._wanted.update(kept)
        try:
            yield
        finally:
            self._wanted.subtract(kept)
            self._wanted = +self._wanted

    @contextmanager
    def translated(self, needed_bytes: int = 0) -> Iterator[None]:
        """Turn what the operating system says about this tier into an error that a caller understands."""
        try:
            yield
        except FileNotFoundError:
            raise  # a name that vanished is for the caller to judge, and no fault of the tier
        except OSError as error:
            raise self._fault(error, needed_bytes) from error

    def _fault(self, error: OSError, needed_bytes: int) -> CachemgrError:
        if error.errno in _FULL:
            free = self.space.usage().free_bytes
            return NoSpace(
                f"the {self.name} tier at {self.tier.root} is full",
                needed_bytes=needed_bytes,
                free_bytes=free,
                evictable_bytes=0,
                hint=f"free space there, or give the {self.name} tier a larger quota",
                tier=self.name,
            )
        return TierUnavailable(f"the {self.name} tier at {self.tier.root} failed: {error.strerror}", tier=self.name)

    def _learn(self, manifest: Manifest) -> None:
        for entry in manifest.entries:
            if entry.etag and entry.digest.algorithm == "sha256":
                self._by_etag[entry.etag] = entry.digest


def within(sealed: Sealed, path: str | None) -> Path:
    """The directory of a snapshot, or the file or folder in it that a ref names."""
    return sealed.path / path if path else sealed.path
