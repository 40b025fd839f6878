"""Restoring one checkpoint: fetch beside the destination, verify every file, let it appear."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path

from cachemgr.aio.crowd import each
from cachemgr.aio.iopool import IoPool
from cachemgr.bucket.faults import KEYS_HINT
from cachemgr.checkpoints.answers import Restored
from cachemgr.checkpoints.ledger import Ledger
from cachemgr.checkpoints.ports import Count, Progress
from cachemgr.checkpoints.staging import Staging, is_there, occupied
from cachemgr.checkpoints.tree import Tree, read_tree
from cachemgr.domain.checkpoint import CheckpointManifest, StoredFile
from cachemgr.domain.digest import Digest, Seen
from cachemgr.domain.errors import (
    CachemgrError,
    NoSpace,
    NotFound,
    OriginUnavailable,
    TierUnavailable,
    Unauthorized,
    VerificationFailed,
)
from cachemgr.moving.plane import DataPlane
from cachemgr.moving.target import Target
from cachemgr.tiers.mounts import mount_of, read_mounts

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_HINT = "the object in the bucket was changed or damaged after it was published; restore another checkpoint"


@dataclass(frozen=True, slots=True)
class Pull:
    """One restore; of nothing that fails anything appears at the destination."""

    ledger: Ledger
    plane: DataPlane
    pool: IoPool
    progress: Progress
    fetched: Count
    files_at_once: int

    async def run(self, directory: Path, name: str | None) -> Restored:
        """Restore the newest checkpoint (of this name) to `directory/<name>`.

        Raises NotFound, VerificationFailed, NoSpace, Usage if something else is there, and what asking may raise.
        """
        began = time.monotonic()
        manifest = await self._choose(name)
        self.progress.expect(manifest.bytes, len(manifest.files))
        destination = directory / manifest.name
        try:
            there = await self.pool.run(is_there, destination)
            if there:
                await self._compare(destination, manifest)
            else:
                await self._restore(destination, manifest)
        except OSError as error:
            raise await self._local_fault(error, directory, manifest) from error
        return self._answer(destination, manifest, began, unchanged=there)

    async def _choose(self, name: str | None) -> CheckpointManifest:
        books = await self.ledger.published()
        record = books.newest(name)
        if record is None:
            known = ", ".join(dict.fromkeys(one.name[:80] for one in books.published[-5:]))
            what = "no checkpoint is published" if name is None else f"no checkpoint is called {name[:80]!r}"
            hint = f"the newest ones are {known}" if known else "check the place: `cachemgr ckpt push` says it"
            raise NotFound(f"{self.ledger.place}: {what}", hint=hint)
        return await self.ledger.read(record)

    async def _restore(self, destination: Path, manifest: CheckpointManifest) -> None:
        staging = await self.pool.run(Staging.begin, destination.parent)
        try:
            await self._make_room(destination.parent, manifest)
            local = await self.pool.run(_is_local, destination.parent)
            await each(manifest.files, lambda file: self._fetch(staging, manifest, file, local), self.files_at_once)
            await self.pool.run(staging.publish, destination, manifest.kind, manifest.links)
        finally:
            await self.pool.run(staging.discard)

    async def _fetch(self, staging: Staging, manifest: CheckpointManifest, file: StoredFile, local: bool) -> None:
        path = "" if manifest.kind == "file" else file.path
        target = Target(await self.pool.run(staging.place, path, file.size), local)
        seen = await self._fetched(self.ledger.place.key(manifest.key_of(file)), file, target)
        self._check(manifest, file, seen)
        if not local:
            # A network volume can lose what it acknowledged: what is read again is what training will read.
            again = await self.plane.digest(target.path, size=file.size, git_sha1=False, progress=lambda _: None)
            self._check(manifest, file, again)
        self.progress.file_done()

    async def _fetched(self, key: str, file: StoredFile, target: Target) -> Seen:
        remote = await self.ledger.bucket.remote(key, file.size)
        try:
            return await self.plane.fetch(remote, [target], git_sha1=False, progress=self.fetched)
        except Unauthorized as error:
            raise Unauthorized(error.detail, hint=KEYS_HINT) from error
        except (NotFound, OriginUnavailable) as error:
            stored = await self.ledger.bucket.find(key)
            if stored is not None and stored.size == file.size:
                raise
            found = "nothing" if stored is None else f"{stored.size} bytes"
            raise VerificationFailed(
                f"{self.ledger.bucket.where(key)}: the store has {found} where {file.size} bytes were published",
                hint=_HINT,
                file=file.path,
            ) from error

    def _check(self, manifest: CheckpointManifest, file: StoredFile, seen: Seen) -> None:
        fault = seen.differs_from(file.size, Digest.sha256(file.sha256))
        if fault:
            where = self.ledger.bucket.where(self.ledger.place.key(manifest.key_of(file)))
            raise VerificationFailed(f"{where}: {fault}", hint=_HINT, file=file.path)

    async def _compare(self, destination: Path, manifest: CheckpointManifest) -> None:
        """Return if what is at the destination is this very checkpoint; raises Usage."""
        try:
            tree = await self.pool.run(read_tree, destination)
        except CachemgrError:
            raise occupied(destination) from None
        wanted = {"" if manifest.kind == "file" else file.path: file for file in manifest.files}
        found = {file.path: file.size for file in tree.files}
        same = found == {path: file.size for path, file in wanted.items()} and tree.kind == manifest.kind
        if not same or frozenset(tree.links) != frozenset(manifest.links):
            raise occupied(destination)
        equal = await each(wanted.items(), lambda item: self._is_equal(tree, *item), self.files_at_once)
        if not all(equal):
            raise occupied(destination)

    async def _is_equal(self, tree: Tree, path: str, file: StoredFile) -> bool:
        where = tree.root / path if path else tree.root
        seen = await self.plane.digest(where, size=file.size, git_sha1=False, progress=self.progress.moved)
        self.progress.file_done()
        return seen.differs_from(file.size, Digest.sha256(file.sha256)) is None

    async def _make_room(self, directory: Path, manifest: CheckpointManifest) -> None:
        free = await self.pool.run(_free_bytes, directory)
        if manifest.bytes > free:
            raise _no_space(directory, manifest, free, "it is too large")

    async def _local_fault(self, error: OSError, directory: Path, manifest: CheckpointManifest) -> CachemgrError:
        if error.errno in _FULL:
            return _no_space(directory, manifest, await self.pool.run(_free_bytes, directory), str(error.strerror))
        return TierUnavailable(
            f"{directory} cannot be written: {error.strerror}", hint="check its permissions, or restore elsewhere"
        )

    def _answer(self, destination: Path, manifest: CheckpointManifest, began: float, *, unchanged: bool) -> Restored:
        return Restored(
            name=manifest.name,
            seq=manifest.seq,
            step=manifest.step,
            source=str(self.ledger.place),
            path=str(destination),
            bytes=manifest.bytes,
            files=len(manifest.files),
            fetched_bytes=0 if unchanged else manifest.bytes,
            seconds=round(time.monotonic() - began, 3),
            published_at=manifest.published_at,
            unchanged=unchanged,
        )


def _is_local(directory: Path) -> bool:
    mount = mount_of(directory, read_mounts())
    return mount is not None and mount.local


def _free_bytes(directory: Path) -> int:
    about = os.statvfs(directory)
    return about.f_bavail * about.f_frsize


def _no_space(directory: Path, manifest: CheckpointManifest, free: int, why: str) -> NoSpace:
    return NoSpace(
        f"{manifest.name[:80]} does not fit into {directory}: {why}; it needs {manifest.bytes} bytes, {free} are free",
        needed_bytes=manifest.bytes,
        free_bytes=free,
        evictable_bytes=0,
        hint="free some space there, or restore into another directory",
    )
