"""A run's books, kept in its bucket: who is writing, what is published, which is the latest."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cachemgr.aio.crowd import each
from cachemgr.aio.iopool import IoPool
from cachemgr.bucket.bucket import Bucket
from cachemgr.bucket.checks import Check
from cachemgr.domain.checkpoint import CheckpointManifest, decode_manifest, encode_manifest
from cachemgr.domain.checkpoint_keys import LATEST, PUBLISHED, REMOVED, WRITING, Announcement, Books, BucketPath, Record
from cachemgr.domain.errors import CachemgrError, Held, NotFound, Usage, VerificationFailed
from cachemgr.tiers.owner import Owner

log = logging.getLogger(__name__)

MANIFEST_BYTES = 128 << 20

_AT_ONCE = 8
_ROUNDS = 12
_NOTE_BYTES = 64 << 10

_writing: set[str] = set()
"""The pushes of this process that go on: an announcement of this process that is not in here has ended."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What a push was granted: a number, and keys below `data` that nobody else writes.

    `taken_over`: the announcements of ended pushes that had begun to write there.
    """

    announcement: Announcement
    data: str
    check: Check
    books: Books
    taken_over: tuple[Announcement, ...]


class Ledger:
    """The books of one run. Nothing here rests on a condition that a store may ignore."""

    def __init__(self, bucket: Bucket, place: BucketPath, pool: IoPool) -> None:
        self.bucket = bucket
        self._pool = pool
        self.place = place

    async def books(self) -> Books:
        """What the run's own keys say now."""
        writing = await self._keys(WRITING)
        published = await self._keys(PUBLISHED)
        return Books.read(writing, published, await self._keys(REMOVED))

    async def published(self) -> Books:
        """What is published, and nothing else."""
        return Books.read((), await self._keys(PUBLISHED), ())

    async def read(self, record: Record) -> CheckpointManifest:
        """A published manifest; raises VerificationFailed if it is not what a push wrote, NotFound."""
        key = self.place.key(record.key)
        data = await self.bucket.get(key, MANIFEST_BYTES)
        try:
            manifest = await self._pool.run(decode_manifest, data)
            if manifest.record != record:
                raise Usage(f"it is the manifest of {manifest.record.key[:80]!r}")
        except Usage as error:
            raise VerificationFailed(
                f"{self.bucket.where(key)} cannot be trusted: {error.detail}",
                hint="restore another checkpoint; `cachemgr ckpt ls` lists them",
            ) from None
        return manifest

    async def read_good(self, records: Iterable[Record]) -> list[CheckpointManifest]:
        """Those manifests, without the ones that cannot be trusted or are gone."""

        async def attempt(record: Record) -> CheckpointManifest | None:
            try:
                return await self.read(record)
            except (VerificationFailed, NotFound) as error:
                log.warning("manifest left out", extra={"seq": record.seq, "detail": error.detail})
                return None

        return [manifest for manifest in await each(records, attempt, _AT_ONCE) if manifest is not None]

    @asynccontextmanager
    async def announced(self, name: str) -> AsyncIterator[Slot]:
        """Announce a push before its first byte. Withdrawn if the push succeeds; else it stays, and tells the next one
        what was left behind. Raises Held if no number can be had.
        """
        writer = Owner.current().unique_name()
        _writing.add(writer)
        try:
            mine, check, books = await self._take_number(name, writer)
            data, taken_over = await self._choose_data(mine, books, await self._ended(books))
            slot = Slot(mine, data, check, books, taken_over)
            await self._note(slot, publishing=False)
            yield slot
            await self._withdraw(mine, *slot.taken_over)
        finally:
            _writing.discard(writer)

    async def publish(self, slot: Slot, manifest: CheckpointManifest) -> None:
        """Write the manifest: from here on the checkpoint exists. Raises Held if its number was taken after all."""
        # From here on nobody may write to these keys again, even if the answer to what follows is lost.
        await self._note(slot, publishing=True)
        key = self.place.key(manifest.record.key)
        if not await self.bucket.create(key, await self._pool.run(encode_manifest, manifest)):
            raise Held(f"{self.bucket.where(key)} exists already", hint="push again")
        try:
            await self._point_latest()
        except CachemgrError as error:  # published it is, and the list says which is the latest
            log.warning("latest.json was not written", extra={"code": error.code, "detail": error.detail})

    async def _keys(self, below: str) -> list[str]:
        return [self.place.relative(found.key) for found in await self.bucket.listed(self.place.key(below))]

    async def _take_number(self, name: str, writer: str) -> tuple[Announcement, Check, Books]:
        for attempt in range(_ROUNDS):
            mine = Announcement((await self.books()).highest + 1, writer, name)
            key = self.place.key(mine.key)
            note = _note_of(mine, None, publishing=False)
            check = await self.bucket.learn_check(key, note)
            await self.bucket.put(key, note)
            books = await self.books()
            if books.grants(mine):
                return mine, check, books
            await self.bucket.delete(key)
            await asyncio.sleep(random.uniform(0, 0.1 * 2 ** min(attempt, 5)))
        raise Held(f"{self.place}: too many pushes take numbers at once", hint="push again")

    async def _choose_data(
        self, mine: Announcement, books: Books, ended: Sequence[Announcement]
    ) -> tuple[str, tuple[Announcement, ...]]:
        others = Books(tuple(one for one in books.writing if one not in ended), books.published, books.removed)
        if others.data_of(mine, plain=True) != mine.name:
            return others.data_of(mine, plain=False), ()
        begun = [one for one in ended if one.name == mine.name and await self._left_behind(one) == mine.name]
        # What lies there without an announcement was put there by somebody else, and stays as it is.
        plain = bool(begun) or not await self.bucket.listed(self.place.key(f"{mine.name}/"), limit=1)
        return others.data_of(mine, plain=plain), tuple(begun)

    async def _ended(self, books: Books) -> list[Announcement]:
        """The announcements whose push is certainly over."""
        here = Owner.current()

        def has_ended(one: Announcement) -> bool:
            owner = Owner.parse(one.writer)
            return owner is not None and one.writer not in _writing and (owner == here or owner.has_ended())

        return [one for one in books.writing if await self._pool.run(has_ended, one)]

    async def _left_behind(self, ended: Announcement) -> str | None:
        """Where an ended push wrote, if that may be written again; what it had begun to upload there is aborted."""
        try:
            note = json.loads(await self.bucket.get(self.place.key(ended.key), _NOTE_BYTES))
            data = note["data"] if not note["publishing"] else None
            if data not in (ended.name, f"{ended.name}~{ended.seq}"):
                return None
            await self.bucket.abort_uploads(self.place.key(f"{data}/"))
        except (CachemgrError, ValueError, KeyError, TypeError) as error:
            log.info("announcement left alone", extra={"seq": ended.seq, "reason": type(error).__name__})
            return None
        return str(data)

    async def _note(self, slot: Slot, *, publishing: bool) -> None:
        mine = slot.announcement
        await self.bucket.put(self.place.key(mine.key), _note_of(mine, slot.data, publishing=publishing))

    async def _withdraw(self, *announcements: Announcement) -> None:
        for one in announcements:
            try:
                await self.bucket.delete(self.place.key(one.key))
            except CachemgrError as error:
                log.warning("announcement was not withdrawn", extra={"seq": one.seq, "detail": error.detail})

    async def _point_latest(self) -> None:
        """Make `latest.json` name the highest number. Whoever writes it looks again: the last one sees the highest."""
        written: Record | None = None
        while (newest := (await self.published()).newest()) is not None and newest != written:
            document = {"version": 1, "seq": newest.seq, "name": newest.name, "manifest": newest.key}
            await self.bucket.put(self.place.key(LATEST), json.dumps(document, indent=1, ensure_ascii=False).encode())
            written = newest


def _note_of(mine: Announcement, data: str | None, *, publishing: bool) -> bytes:
    document = {"version": 1, "seq": mine.seq, "name": mine.name, "data": data, "publishing": publishing}
    return json.dumps(document, indent=1, ensure_ascii=False).encode()
