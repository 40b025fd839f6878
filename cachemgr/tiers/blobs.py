"""Blobs: immutable bytes under the name of their sha256, and the partial files that become them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cachemgr.aio.iopool import IoPool
from cachemgr.domain.digest import Digest, Seen
from cachemgr.domain.errors import VerificationFailed
from cachemgr.domain.manifest import Entry
from cachemgr.domain.names import escape
from cachemgr.moving.target import Resume, Target
from cachemgr.tiers.access import Access
from cachemgr.tiers.blobfiles import BlobFiles
from cachemgr.tiers.durable import now
from cachemgr.tiers.hubcache import HubCache
from cachemgr.tiers.known import Known
from cachemgr.tiers.layout import Layout
from cachemgr.tiers.parts import PartFiles
from cachemgr.tiers.ports import Hasher
from cachemgr.tiers.quarantine import KEEP_SECONDS, Quarantine

log = logging.getLogger(__name__)

UNLINKED_SECONDS = 86400.0
"""How long a blob that nothing links waits for somebody who wants it again."""


class ResumeMismatch(VerificationFailed):
    """Bytes that go on from an older partial file are wrong; the older file is gone: fetch the whole file, once."""


@dataclass(frozen=True, slots=True)
class _Desk:
    """What a part and its store work with."""

    parts: PartFiles
    known: Known
    blobs: BlobFiles
    quarantine: Quarantine
    access: Access
    pool: IoPool
    hasher: Hasher


class Part:
    """One writer's partial file; made by `BlobStore.part`."""

    def __init__(self, key: str, target: Target, resume: Resume | None, desk: _Desk) -> None:
        self.target = target
        self.resume = resume
        self.kept_bytes = 0
        self._key = key
        self._desk = desk
        self._keep = True

    def record(self, size: int) -> None:
        """The first `size` bytes are hashed and fsynced; blocks, for data threads."""
        with suppress(OSError):
            # Only a resume would miss it.
            self._desk.parts.note(self.target.path, size)

    async def publish(self, entry: Entry, seen: Seen) -> Digest:
        """Make it a blob if it is what `entry` promises; durable on return.

        On a network file system it is read and hashed once more first, since such a store may lose what it took.
        Raises VerificationFailed with the bytes in quarantine, ResumeMismatch if older bytes may be to blame, and
        OSError.
        """
        wrong = seen.differs_from(entry.size, entry.digest)
        if wrong is None and not self.target.local:
            wrong = await self._read_again(seen)
        if wrong is not None:
            self._keep = False
            raise await self._desk.pool.run(self._condemn, entry, seen, wrong)
        await self._desk.pool.run(self._publish, entry, seen)
        self._keep = False
        return Digest.sha256(seen.sha256)

    async def _read_again(self, seen: Seen) -> str | None:
        again = await self._desk.hasher.digest(
            self.target.path, size=seen.size, git_sha1=False, progress=lambda _: None
        )
        wrong = again.differs_from(seen.size, Digest.sha256(seen.sha256))
        return None if wrong is None else f"read back after writing: {wrong}"

    def _publish(self, entry: Entry, seen: Seen) -> None:
        self._desk.blobs.publish(self.target.path, Digest.sha256(seen.sha256), seen.size)
        with _not_worth_failing("what a key stands for could not be noted"):
            if self._key != seen.sha256:
                self._desk.known.remember(self._key, Digest.sha256(seen.sha256))
            self._desk.parts.drop_leftovers(self._key)

    def _condemn(self, entry: Entry, seen: Seen, wrong: str) -> VerificationFailed:
        found = seen.sha256 if entry.digest.algorithm == "sha256" else seen.git_sha1 or seen.sha256
        about = {"file": entry.path, "expected": str(entry.digest), "found": found}
        if self.resume is not None:
            self._desk.parts.drop_leftovers(self._key)
            return ResumeMismatch(f"{entry.path} is wrong after a resume: {wrong}", hint=None, **about)
        self._desk.quarantine.take(self.target.path, escape(self._key), {**about, "reason": wrong})
        return VerificationFailed(f"{entry.path} is not what its origin promised: {wrong}", hint=None, **about)

    def end(self) -> None:
        """Give the file up; blocks."""
        with _not_worth_failing("a partial file could not be cleared up"):
            self.kept_bytes = self._desk.parts.release(self.target.path, keep=self._keep)


@contextmanager
def _not_worth_failing(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.warning(what, extra={"error": str(error)})


class BlobStore:
    """The blobs of one tier."""

    def __init__(self, layout: Layout, access: Access, pool: IoPool, hasher: Hasher) -> None:
        parts, quarantine = PartFiles(layout, local=access.local), Quarantine(layout)
        self._layout = layout
        self._desk = _Desk(parts, Known(layout), BlobFiles(layout, quarantine), quarantine, access, pool, hasher)
        self._pool = pool

    def path(self, digest: Digest) -> Path:
        """Where the bytes of a sha256 lie, if they are here."""
        return self._layout.blob(digest)

    async def contains(self, digest: Digest) -> int | None:
        """The size of a blob that is here, else None."""
        return await self._pool.run(self._desk.blobs.size, digest)

    async def known(self, key: str) -> Digest | None:
        """What an earlier part of this key turned out to be, if its blob is still here."""
        return await self._pool.run(self._known, key)

    async def locate(self, asked: Mapping[str, tuple[int, Digest | None]]) -> dict[str, Digest]:
        """By key, the blobs that are here of files of these sizes; without a digest, what the key turned out to be."""
        return await self._pool.run(self._locate, asked)

    @asynccontextmanager
    async def part(self, key: str, size: int) -> AsyncIterator[Part]:
        """A partial file of `size` bytes to fill and publish; OSError (ENOSPC, EDQUOT) if there is no room for it.

        Whoever leaves without publishing leaves nothing but the bytes that `record` vouched for, for a resume;
        `Part.kept_bytes` says afterwards how many.
        """
        self._desk.access.check()
        made: list[Part] = []
        try:
            # Into a list, since a caller who is cancelled here gets no result, yet the file is there.
            await self._pool.run(lambda: made.append(self._create(key, size)))
            yield made[0]
        finally:
            for part in made:
                await self._pool.finish(part.end)

    async def reclaimable(self) -> list[tuple[Digest, int]]:
        """The blobs that nothing but their own name links, with their sizes."""
        return [(b.digest, b.size) for b in await self._pool.run(self._desk.blobs.list) if b.links == 1]

    async def reclaim(self, digest: Digest) -> int:
        """Delete a blob that nothing links; the bytes freed: 0 if it is linked, or already gone."""
        self._desk.access.check()
        return await self._pool.run(self._desk.blobs.reclaim, digest)

    async def condemn(self, digest: Digest, reason: str) -> None:
        """Move a blob whose bytes went bad to quarantine, and its links out of the hub's blobs: nobody links it again.

        Snapshots that have it keep it: unseal them.
        """
        self._desk.access.check()
        await self._pool.run(self._condemn, digest, reason)

    async def measure(self) -> int:
        """The bytes of blobs, partial files and quarantine, by flat listings."""
        return await self._pool.run(self._measure)

    async def purge(self) -> int:
        """Delete what ended writers left and what lies in quarantine, before anything better must go: bytes freed."""
        self._desk.access.check()
        return await self._pool.run(self._purge)

    async def sweep(self) -> None:
        """At start and now and then: unfinished work of dead writers, blobs unlinked for a day, old quarantine."""
        self._desk.access.check()
        await self._pool.run(self._sweep)

    def _condemn(self, digest: Digest, reason: str) -> None:
        info = self._desk.blobs.condemn(digest, reason)
        if info is not None:
            HubCache(self._layout).withdraw(info)

    def _known(self, key: str) -> Digest | None:
        digest = self._desk.known.recall(key)
        return digest if digest and self._desk.blobs.size(digest) is not None else None

    def _locate(self, asked: Mapping[str, tuple[int, Digest | None]]) -> dict[str, Digest]:
        found = {}
        for key, (size, named) in asked.items():
            digest = named or self._desk.known.recall(key)
            if digest is not None and self._desk.blobs.size(digest) == size:
                found[key] = digest
        return found

    def _create(self, key: str, size: int) -> Part:
        resume = self._desk.parts.resume(key)
        return Part(key, Target(self._desk.parts.create(key, size), self._desk.access.local), resume, self._desk)

    def _measure(self) -> int:
        blobs = sum(blob.size for blob in self._desk.blobs.list())
        return blobs + self._desk.parts.bytes() + self._desk.quarantine.bytes()

    def _purge(self) -> int:
        freed = self._desk.quarantine.purge()
        for leftover in self._desk.parts.leftovers():
            self._desk.parts.drop(leftover.path)
            freed += 0 if leftover.linked else leftover.size
        return freed

    def _sweep(self) -> None:
        clock = now(self._layout.staging)
        self._desk.parts.sweep(clock)
        self._desk.known.sweep(clock)
        self._desk.blobs.sweep_trash(clock)
        self._desk.quarantine.purge(clock - KEEP_SECONDS)
        for blob in self._desk.blobs.list():
            if blob.links == 1 and clock - blob.changed > UNLINKED_SECONDS:
                self._desk.blobs.reclaim(blob.digest)
