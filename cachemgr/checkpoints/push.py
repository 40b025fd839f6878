"""Pushing one checkpoint: hash, send what is new, copy what is not, look again, publish."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from cachemgr.aio.crowd import each
from cachemgr.aio.iopool import IoPool
from cachemgr.bucket.prints import Prints, take_prints
from cachemgr.bucket.stored import Stored
from cachemgr.checkpoints.answers import Published
from cachemgr.checkpoints.ledger import Ledger, Slot
from cachemgr.checkpoints.ports import Count, Progress
from cachemgr.checkpoints.tree import LocalFile, Tree, is_unchanged, read_tree
from cachemgr.domain.checkpoint import CheckpointManifest, StoredFile
from cachemgr.domain.checkpoint_keys import step_of
from cachemgr.domain.errors import CachemgrError, Held, NotFound, TierUnavailable, Usage, VerificationFailed

LOOKED_THROUGH = 8
"""How many of the newest checkpoints are searched for files that need not be sent again."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done:
    """One file with its prints; `stored` once it is in the bucket, `source` where the same bytes are published."""

    file: LocalFile
    prints: Prints
    source: Stored | None
    stored: StoredFile | None
    sent: bool = False


@dataclass(frozen=True, slots=True)
class Push:
    """One push of one checkpoint; of nothing that fails anything is published."""

    ledger: Ledger
    pool: IoPool
    progress: Progress
    sent: Count
    files_at_once: int

    async def run(self, root: Path, name: str) -> Published:
        """Publish what lies at `root`. Raises Held if it changes meanwhile, and what reading and writing may raise."""
        began = time.monotonic()
        tree = await self.pool.run(read_tree, root)
        for file in tree.files:  # a key that no store takes is found before the first byte
            self.ledger.place.key(f"{name}~{2**40}/{file.path or name}")
        self.progress.expect(tree.bytes, len(tree.files))
        async with self.ledger.announced(name) as slot:
            newest = await self._newest(slot, name)
            known = _known(newest)
            done = await each(tree.files, lambda file: self._send_new(tree, file, slot, known), self.files_at_once)
            manifest = self._manifest(tree, slot, done)
            before = newest[0] if newest else None
            if before is not None and self._is_again(manifest, before, slot) and await self._all_there(before):
                await self._look_again(tree)
                self._finished(*done)
                return self._answer(before, done, began, unchanged=True)
            done = await each(done, lambda one: self._copy_known(tree, one, slot), self.files_at_once)
            manifest = self._manifest(tree, slot, done)
            await self._look_again(tree)
            await self.ledger.publish(slot, manifest)
        return self._answer(manifest, done, began, unchanged=False)

    async def _newest(self, slot: Slot, name: str) -> list[CheckpointManifest]:
        """The newest published checkpoints, the newest one first, and the newest of this name."""
        records = [*reversed(slot.books.published)][:LOOKED_THROUGH]
        same = slot.books.newest(name)
        if same is not None and same not in records:
            records.append(same)
        return await self.ledger.read_good(records)

    async def _send_new(self, tree: Tree, file: LocalFile, slot: Slot, known: Mapping[tuple[str, int], _Place]) -> Done:
        path = tree.locate(file)
        prints = await self._unchanged(tree, file, take_prints(self.pool, path, file.size, slot.check))
        if prints.size != file.size:
            raise _changed(path)
        place = known.get((prints.sha256, prints.size))
        if place is not None:
            source = Stored(self.ledger.place.key(place.key), prints.size, place.etag, prints.sha256)
            return Done(file, prints, source, None)
        return await self._send(tree, Done(file, prints, None, None), slot)

    async def _copy_known(self, tree: Tree, done: Done, slot: Slot) -> Done:
        if done.source is None:
            return done
        try:
            copied = await self.ledger.bucket.copy(done.source, self._key(slot, done.file))
        except CachemgrError:  # the store cannot, or not now: sending is never wrong
            copied = None
        if copied is None:
            return await self._send(tree, done, slot)
        self._finished(done)
        return replace(done, stored=_stored(done, copied.etag))

    async def _send(self, tree: Tree, done: Done, slot: Slot) -> Done:
        key = self._key(slot, done.file)
        sending = self.ledger.bucket.send(tree.locate(done.file), done.prints, key, self.sent)
        etag = await self._unchanged(tree, done.file, sending)
        self.progress.file_done()
        return replace(done, stored=_stored(done, etag), sent=True)

    async def _unchanged(self, tree: Tree, file: LocalFile, work: Awaitable[T]) -> T:
        """The result of work on a file, if the file is the same before and after it; raises Held."""
        path = tree.locate(file)
        try:
            result = await work
        except (OSError, VerificationFailed) as error:
            if not await self.pool.run(is_unchanged, tree, file):
                raise _changed(path) from error
            if isinstance(error, VerificationFailed):
                raise
            raise TierUnavailable(f"{path} cannot be read: {error.strerror}", hint="check the disk") from error
        if not await self.pool.run(is_unchanged, tree, file):
            raise _changed(path)
        return result

    async def _look_again(self, tree: Tree) -> None:
        """Raise Held unless everything is as it was at the beginning: same files, same links, nothing new."""
        try:
            now = await self.pool.run(read_tree, tree.root)
        except (NotFound, Usage):  # what could be stored a moment ago cannot be any more
            raise _changed(tree.root) from None
        if now != tree:
            raise _changed(tree.root)

    async def _all_there(self, before: CheckpointManifest) -> bool:
        """True if the bucket still has what was published, as far as a list shows."""
        place = self.ledger.place
        there = {found.key: found for found in await self.ledger.bucket.listed(place.key(f"{before.data}/"))}
        wanted = [Stored(place.key(before.key_of(file)), file.size, file.etag, None) for file in before.files]
        return all(one.key in there and there[one.key].is_like(one) for one in wanted)

    def _key(self, slot: Slot, file: LocalFile) -> str:
        return self.ledger.place.key(f"{slot.data}/{file.path or slot.announcement.name}")

    def _finished(self, *copied: Done) -> None:
        for one in copied:
            self.progress.moved(one.file.size)
            self.progress.file_done()

    def _is_again(self, manifest: CheckpointManifest, before: CheckpointManifest, slot: Slot) -> bool:
        """True if the run's newest checkpoint is this one already: a push that is repeated publishes nothing."""
        newest = before.record == slot.books.newest()
        return newest and (before.name, before.content) == (manifest.name, manifest.content)

    def _manifest(self, tree: Tree, slot: Slot, done: Iterable[Done]) -> CheckpointManifest:
        name = slot.announcement.name
        files = [one.stored or _stored(one, None) for one in done]
        return CheckpointManifest(
            name=name,
            seq=slot.announcement.seq,
            step=step_of(name),
            kind=tree.kind,
            data=slot.data,
            published_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            files=tuple(replace(file, path=file.path or name) for file in files),
            links=tree.links,
        )

    def _answer(
        self, manifest: CheckpointManifest, done: Iterable[Done], began: float, *, unchanged: bool
    ) -> Published:
        sent = sum(one.file.size for one in done if one.sent)
        return Published(
            name=manifest.name,
            seq=manifest.seq,
            step=manifest.step,
            to=str(self.ledger.place),
            data=manifest.data,
            manifest=manifest.record.key,
            bytes=manifest.bytes,
            files=len(manifest.files),
            sent_bytes=sent,
            copied_bytes=0 if unchanged else manifest.bytes - sent,
            seconds=round(time.monotonic() - began, 3),
            published_at=manifest.published_at,
            unchanged=unchanged,
        )


@dataclass(frozen=True, slots=True)
class _Place:
    key: str
    etag: str | None


def _stored(done: Done, etag: str | None) -> StoredFile:
    return StoredFile(done.file.path, done.prints.size, done.prints.sha256, etag or None)


def _known(manifests: Iterable[CheckpointManifest]) -> dict[tuple[str, int], _Place]:
    places: dict[tuple[str, int], _Place] = {}
    for manifest in manifests:
        for file in manifest.files:
            places.setdefault((file.sha256, file.size), _Place(manifest.key_of(file), file.etag))
    return places


def _changed(path: Path) -> Held:
    return Held(
        f"{path} changed while it was being read: nothing was published",
        hint="push again once training has finished writing it",
    )
