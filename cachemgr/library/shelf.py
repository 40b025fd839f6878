"""A shelf: one tier as the read path uses it, with its holds, its budget and an index of what is sealed there."""

from __future__ import annotations

import errno
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cachemgr.aio.lastly import lastly
from cachemgr.domain.digest import Digest
from cachemgr.domain.errors import CachemgrError, NoSpace, TierUnavailable
from cachemgr.domain.manifest import Entry, Manifest
from cachemgr.domain.ref import Ref
from cachemgr.library.ports import Blobs, Holds, Space, Tier
from cachemgr.tiers.snapshots import Sealed

log = logging.getLogger(__name__)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_CONDEMN_SECONDS = 60.0


class Shelf:
    """The files are the truth; what is kept here in memory can be rebuilt by `load`."""

    def __init__(self, tier: Tier, holds: Holds, space: Space) -> None:
        self.tier = tier
        self.holds = holds
        self.space = space
        self._sealed: dict[str, Sealed] = {}
        self._bad: dict[str, float] = {}
        self._bad_blobs: set[Digest] = set()
        self._by_etag: dict[str, Digest] = {}
        self._wanted: Counter[str] = Counter()
        self._found: dict[str, str] = {}

    @property
    def name(self) -> str:
        return self.tier.name

    @property
    def blobs(self) -> Blobs:
        return self.tier.blobs

    async def load(self) -> None:
        """Look at the directories again: what is sealed, and how much space it takes."""
        await self.look()
        await self.space.refresh()

    async def look(self) -> None:
        """Look again at what is sealed."""
        before = frozenset(self._sealed)
        with self.translated():
            found = {sealed.manifest.id: sealed for sealed in await self.tier.snapshots.scan()}
        # What was sealed or removed while the directories were read is known better than what was read.
        found.update({id: sealed for id, sealed in self._sealed.items() if id not in before})
        gone = before - self._sealed.keys()
        self._sealed = {id: sealed for id, sealed in found.items() if id not in gone and not self._is_bad(sealed)}
        self._by_etag.clear()
        for sealed in self._sealed.values():
            self._learn(sealed.manifest)

    def sealed(self) -> Mapping[str, Sealed]:
        """What is sealed here, as last seen."""
        return self._sealed

    async def find(self, id: str) -> Sealed | None:
        """What is sealed under this id right now: a fresh look at the files, since others write there too."""
        with self.translated():
            sealed = await self.tier.snapshots.find(id)
        if sealed is None or self._is_bad(sealed):
            self._sealed.pop(id, None)
            return None
        self._sealed[id] = sealed
        return sealed

    async def publish(self, manifest: Manifest, ref: Ref, resolved_at: float) -> Sealed:
        """Seal a manifest whose blobs are all here; raises BlobGone, NoSpace, TierUnavailable, Held.

        It gets the name `ref`, unless that was resolved to another revision later than `resolved_at`.
        """
        hold = await self.holds.take(manifest.id)  # nobody may remove what is being completed
        try:
            name = None if await self._superseded(ref, manifest.revision, resolved_at) else ref
            with self.translated():
                sealed = await self.tier.snapshots.publish(manifest, name, resolved_at)
        finally:
            hold.release()
        self._sealed[manifest.id] = sealed
        self._learn(sealed.manifest)
        return sealed

    async def remember(self, ref: Ref, revision: str, at: float) -> None:
        """The ref was this revision, which is sealed here, at that time; a later answer is not overwritten."""
        if not await self._superseded(ref, revision, at):
            with self.translated():
                await self.tier.refs.remember(ref, revision, at)

    async def _superseded(self, ref: Ref, revision: str, at: float) -> bool:
        note = await self.tier.refs.recall(ref)
        # A note from the future comes from a worker whose clock is wrong: it must not win for ever.
        return note is not None and note.revision != revision and at < note.at <= time.time()

    async def discard(self, id: str) -> int:
        """Take a snapshot away with the blobs that nothing else needs; return the bytes that this freed.

        The caller has made sure that nobody holds it.
        """
        sealed = await self.find(id)
        with self.translated():
            freed = await self.tier.snapshots.discard(id)
            self._sealed.pop(id, None)
            if sealed is not None:
                freed += await self._reclaim({entry.digest for entry in sealed.manifest.entries})
        self.space.freed(freed)
        return freed

    async def condemn(self, digest: Digest, reason: str) -> None:
        """Bytes of this digest have gone bad: move them to quarantine and unseal every snapshot that has them.

        The directories stay for those who read them now; sealing them again replaces the bad file only. On a tier that
        cannot be written nothing changes, but this process answers with none of these snapshots again.
        """
        self._mark(digest, self._sealed.values())
        # To its end: half of it would leave snapshots sealed that are known to be bad.
        await lastly(self._condemn(digest, reason), "condemning bad bytes", _CONDEMN_SECONDS)

    async def _condemn(self, digest: Digest, reason: str) -> None:
        with self.translated():
            if self.tier.writable:
                await self.blobs.condemn(digest, reason)
            else:
                self._bad_blobs.add(digest)  # it cannot be taken away
            for id in self._mark(digest, await self.tier.snapshots.scan()):
                await self._unseal(id)

    async def unseal(self, sealed: Sealed) -> None:
        """A snapshot is not complete any more: nobody is given it until it has been completed."""
        self._bad[sealed.manifest.id] = sealed.sealed_at
        self._sealed.pop(sealed.manifest.id, None)
        with self.translated():
            await self._unseal(sealed.manifest.id)

    async def _unseal(self, id: str) -> None:
        if self.tier.writable:
            await self.tier.snapshots.unseal(id)
            self._bad.pop(id, None)

    def _mark(self, digest: Digest, among: Iterable[Sealed]) -> list[str]:
        """Let nobody have the snapshots that have these bytes, whatever becomes of their seals."""
        having = [sealed for sealed in among if any(entry.digest == digest for entry in sealed.manifest.entries)]
        for sealed in having:
            self._bad[sealed.manifest.id] = sealed.sealed_at
            self._sealed.pop(sealed.manifest.id, None)
        return [sealed.manifest.id for sealed in having]

    def _is_bad(self, sealed: Sealed) -> bool:
        # Sealed again it is another one, whose every file was looked at.
        return self._bad.get(sealed.manifest.id) == sealed.sealed_at

    async def reclaim(self) -> int:
        """Take away the blobs that no snapshot links and nobody is about to link; return the bytes freed."""
        with self.translated():
            freed = await self._reclaim([digest for digest, _ in await self.reclaimable()])
        self.space.freed(freed)
        return freed

    async def _reclaim(self, digests: Iterable[Digest]) -> int:
        freed = 0
        for digest in digests:
            if digest.value not in self._wanted:  # looked at for each: a request may have come since
                freed += await self.blobs.reclaim(digest)
        return freed

    async def reclaimable(self) -> list[tuple[Digest, int]]:
        """The blobs that `reclaim` would take, with their sizes."""
        return [(digest, size) for digest, size in await self.blobs.reclaimable() if digest.value not in self._wanted]

    async def purge(self) -> int:
        """Take away what serves nobody: unfinished files of writers that ended, and quarantine; the bytes freed."""
        with self.translated():
            freed = await self.blobs.purge()
        self.space.freed(freed)
        return freed

    async def locate(self, files: Mapping[str, Entry]) -> dict[str, Digest]:
        """By the key of each file whose bytes are here: their sha256, in the origin's word or seen when they came."""
        asked = {key: (entry.size, self._sha256(entry)) for key, entry in files.items()}
        with self.translated():
            found = await self.blobs.locate(asked)
        if self._bad_blobs:
            found = {key: digest for key, digest in found.items() if digest not in self._bad_blobs}
        for key, digest in found.items():
            self.turned_out(key, digest)
        return found

    def _sha256(self, entry: Entry) -> Digest | None:
        return entry.digest if entry.digest.algorithm == "sha256" else self._by_etag.get(entry.digest.value)

    def wanted_blobs(self) -> frozenset[str]:
        """The digests of the blobs that are about to be linked."""
        return frozenset(f"sha256:{value}" for value in self._wanted)

    @contextmanager
    def wanting(self, keys: Iterable[str]) -> Iterator[None]:
        """Keep the blobs of these files until they are linked; nobody else could tell that they are needed."""
        kept = [*keys]
        self._wanted.update(kept)
        try:
            yield
        finally:
            self._wanted.subtract(kept)
            self._wanted.subtract(self._found.pop(key) for key in kept if not self._wanted[key] and key in self._found)
            self._wanted = +self._wanted

    def turned_out(self, key: str, digest: Digest) -> None:
        """A file that is wanted has these bytes: say so before they are a blob."""
        if self._wanted[key] and key not in self._found and key != digest.value:
            self._found[key] = digest.value
            self._wanted[digest.value] += 1

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
            if entry.etag and entry.digest.algorithm == "sha256" and entry.etag != entry.digest.value:
                self._by_etag[entry.etag] = entry.digest


def within(sealed: Sealed, path: str | None) -> Path:
    """The directory of a snapshot, or the file or folder in it that a ref names."""
    return sealed.path / path if path else sealed.path
