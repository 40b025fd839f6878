"""Checkpoints as callers ask for them: push, list, pull."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import Counter

from cachemgr.aio.iopool import IoPool
from cachemgr.bucket.buckets import Buckets
from cachemgr.checkpoints.answers import Listed, Published, Restored
from cachemgr.checkpoints.ports import Count, Job, Progress
from cachemgr.domain.checkpoint_keys import BucketPath, check_name
from cachemgr.domain.errors import Usage, VerificationFailed
from cachemgr.metrics import Metrics
from cachemgr.moving.plane import DataPlane

if TYPE_CHECKING:
    from cachemgr.checkpoints.ledger import Ledger

log = logging.getLogger(__name__)

R = TypeVar("R")


class Checkpoints:
    """Checkpoints in buckets. Arguments are judged at once (Usage); what takes a while is a job."""

    def __init__(self, buckets: Buckets, plane: DataPlane, pool: IoPool, metrics: Metrics, files_at_once: int) -> None:
        self._buckets = buckets
        self._plane = plane
        self._pool = pool
        self._metrics = metrics
        self._files_at_once = files_at_once

    def push(self, directory: str, to: str, name: str | None) -> Job:
        """Publish what training wrote at `directory` (or in that one file) in the run `to`; results in Published.

        Raises Held if it changes meanwhile, NotFound, Unauthorized, OriginUnavailable, VerificationFailed.
        """
        root, place = _absolute(directory), BucketPath.parse(to)
        chosen = check_name(root.name if name is None else name)
        return lambda progress: self._push(root, place, chosen, progress)

    def pull(self, source: str, directory: str, name: str | None) -> Job:
        """Restore the newest checkpoint of the run (or of this name) to `directory/<name>`; results in Restored.

        Raises NotFound, VerificationFailed, NoSpace, Usage if something else is there, Unauthorized,
        OriginUnavailable.
        """
        place, into = BucketPath.parse(source), _absolute(directory)
        chosen = None if name is None else check_name(name)
        return lambda progress: self._pull(place, into, chosen, progress)

    async def listed(self, at: str) -> list[Listed]:
        """What is published in the run, the newest last; raises NotFound if there is no such bucket."""
        ledger = await self._ledger(BucketPath.parse(at))
        books = await ledger.published()
        newest = books.newest()
        return [
            Listed(x.name, x.seq, x.step, x.bytes, len(x.files), x.published_at, latest=x.record == newest)
            for x in await ledger.read_good(books.published)
        ]

    async def _push(self, root: Path, place: BucketPath, name: str, progress: Progress) -> Published:
        try:
            ledger = await self._ledger(place)
            from cachemgr.checkpoints.push import Push  # noqa: PLC0415  # with it comes the S3 library

            sent = _counting(progress, self._metrics.moved_bytes.labels("disk_to_bucket"))
            published = await Push(ledger, self._pool, progress, sent, self._files_at_once).run(root, name)
        except Exception:
            self._metrics.checkpoint_failures.inc()
            raise
        if not published.unchanged:
            self._metrics.checkpoints_published.inc()
        extra = {"checkpoint": name, "seq": published.seq, "bytes": published.bytes, "sent": published.sent_bytes}
        log.info("checkpoint is published", extra=extra | {"to": str(place), "seconds": published.seconds})
        return published

    async def _pull(self, place: BucketPath, directory: Path, name: str | None, progress: Progress) -> Restored:
        ledger = await self._ledger(place)
        from cachemgr.checkpoints.pull import Pull  # noqa: PLC0415  # with it comes the S3 library

        fetched = _counting(progress, self._metrics.moved_bytes.labels("bucket_to_disk"))
        pull = Pull(ledger, self._plane, self._pool, progress, fetched, self._files_at_once)
        try:
            restored = await pull.run(directory, name)
        except VerificationFailed:
            self._metrics.verification_failures.labels("restore").inc()
            raise
        extra = {"checkpoint": restored.name, "seq": restored.seq, "bytes": restored.fetched_bytes}
        log.info("checkpoint is restored", extra=extra | {"path": restored.path, "seconds": restored.seconds})
        return restored

    async def _ledger(self, place: BucketPath) -> Ledger:
        bucket = await self._buckets.open(place.bucket)
        from cachemgr.checkpoints.ledger import Ledger  # noqa: PLC0415  # with it comes the S3 library

        return Ledger(bucket, place, self._pool)


def _absolute(path: str) -> Path:
    if not os.path.isabs(path) or "\0" in path:
        raise Usage(f"{path[:120]!r} is not an absolute path", hint="the daemon has a directory of its own")
    return Path(os.path.normpath(path))


def _counting(progress: Progress, counter: Counter) -> Count:
    def moved(delta_bytes: int) -> None:
        progress.moved(delta_bytes)
        if delta_bytes > 0:
            counter.inc(delta_bytes)

    return moved
