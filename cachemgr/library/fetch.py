"""One file onto the shelves that lack it: one flight for all who want it, from the nearest place that has it."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from cachemgr.aio.singleflight import SingleFlight
from cachemgr.domain.digest import Digest, Seen
from cachemgr.domain.errors import VerificationFailed
from cachemgr.domain.manifest import Entry, Manifest
from cachemgr.library.ports import Origin, Part, Plane, Progress, Reservation
from cachemgr.library.shelf import Shelf
from cachemgr.metrics import Metrics
from cachemgr.tiers.blobs import ResumeMismatch
from cachemgr.tiers.links import BlobGone
from cachemgr.tiers.snapshots import Sealed

_LOOKS = 8
"""Others' flights may bring a file to one shelf after the other; more often than this it does not stay."""


@dataclass(frozen=True, slots=True)
class Order:
    """One file of a revision on its way: where it comes from, what pays for it on each shelf, who counts its bytes.

    `key` is the one name for the fetching of these bytes; see `part_key`.
    """

    manifest: Manifest
    entry: Entry
    key: str
    origin: Origin
    room: Mapping[str, Reservation]
    progress: Progress


@dataclass(frozen=True, slots=True)
class Move:
    """Where bytes come from (a tier's name, or `origin`), and how they get into parts."""

    whence: str
    run: Callable[[Sequence[Part], Callable[[int], None]], Awaitable[Seen]]


@dataclass(frozen=True, slots=True)
class _Copy:
    """A verified copy of the file on some shelf, in a snapshot or only a blob."""

    shelf: Shelf
    sealed: Sealed | None
    path: Path
    digest: Digest


class Fetcher:
    """Bytes that are on any shelf are copied from there; others are fetched from the origin, once."""

    def __init__(self, shelves: Sequence[Shelf], plane: Plane, metrics: Metrics) -> None:
        self._shelves = shelves
        self._plane = plane
        self._metrics = metrics
        self._flights: SingleFlight[str, Digest | None] = SingleFlight()

    async def ensure(self, order: Order, onto: Sequence[Shelf]) -> tuple[Digest, int]:
        """Make the file a blob on each of these shelves; return its sha256 and the bytes fetched for this caller.

        Raises VerificationFailed, NoSpace, TierUnavailable, BlobGone and what the origin raises.
        """
        fetched = 0

        async def fly() -> Digest | None:
            nonlocal fetched, order
            # The second look: it may have landed between the caller's look and this flight.
            lacking = [shelf for shelf in onto if await _found(order, shelf) is None]
            if not lacking:
                return None
            digest, bytes_now = await self._move(order, lacking)
            fetched += bytes_now
            return digest

        for _ in range(_LOOKS):
            found = [await _found(order, shelf) for shelf in onto]
            if found[0] is not None and all(found):
                return found[0], fetched
            # From now on it is looked for by what it turned out to be: a note of that may be missing.
            if (digest := await self._flights.do(order.key, fly)) is not None:
                order = replace(order, entry=replace(order.entry, digest=digest))
        raise BlobGone(f"{order.entry.path} vanishes as soon as it has arrived")

    async def _move(self, order: Order, lacking: Sequence[Shelf]) -> tuple[Digest, int]:
        if (source := await self._nearest(order, lacking)) is not None:
            return await self._copy(order, source, lacking), 0
        # A shelf that is left out finds the bytes on the next look.
        return await self._fetch(order, one_pass(lacking))

    async def _nearest(self, order: Order, lacking: Sequence[Shelf]) -> _Copy | None:
        for shelf in self._shelves:
            if (sealed := await shelf.find(order.manifest.id)) is not None:
                for entry in sealed.manifest.entries:
                    if entry.path == order.entry.path and (shelf not in lacking or sealed.adopted):
                        return _Copy(shelf, sealed, sealed.path / entry.path, entry.digest)
            if shelf not in lacking and (digest := await _found(order, shelf)) is not None:
                return _Copy(shelf, None, shelf.blobs.path(digest), digest)
        return None

    async def _copy(self, order: Order, source: _Copy, onto: Sequence[Shelf]) -> Digest:
        entry = replace(order.entry, digest=source.digest)

        async def copy(parts: Sequence[Part], progress: Callable[[int], None]) -> Seen:
            targets = [part.target for part in parts]
            return await self._plane.copy(source.path, targets, size=entry.size, git_sha1=False, progress=progress)

        try:
            return await self._deliver(order, entry, onto, Move(source.shelf.name, copy))
        except (VerificationFailed, FileNotFoundError) as error:
            await self._judge(source, entry, str(error))
            if isinstance(error, FileNotFoundError):
                raise BlobGone(f"{entry.path} vanished while it was copied") from error
            raise

    async def _judge(self, source: _Copy, entry: Entry, reason: str) -> None:
        """A copy was wrong, or could not be made: if its source is to blame, nobody may be given that again."""
        try:
            with source.shelf.translated():
                seen = await self._plane.digest(source.path, size=entry.size, git_sha1=False, progress=_unseen)
        except FileNotFoundError:
            # Removed as a whole it is unsealed already; otherwise this one file was taken out of it.
            if source.sealed is not None and await source.shelf.find(source.sealed.manifest.id) == source.sealed:
                await source.shelf.unseal(source.sealed)
            return
        if seen.differs_from(entry.size, entry.digest):
            await source.shelf.condemn(entry.digest, reason)

    async def _fetch(self, order: Order, onto: Sequence[Shelf]) -> tuple[Digest, int]:
        """The digest, and the bytes that came from the origin."""
        remote = order.origin.remote(order.manifest, order.entry)
        resumed = 0

        async def fetch(parts: Sequence[Part], progress: Callable[[int], None]) -> Seen:
            nonlocal resumed

            def frontier(size: int) -> None:
                for part in parts:
                    part.record(size)

            resume = parts[0].resume
            resumed = 0 if resume is None else min(resume.size, order.entry.size)
            return await self._plane.fetch(
                remote,
                [part.target for part in parts],
                git_sha1=order.entry.digest.algorithm == "git-sha1",
                resume=resume,
                frontier=frontier,
                progress=_without_first(resumed, progress, order.progress.moved),
            )

        move, size = Move("origin", fetch), order.entry.size
        try:
            return await self._deliver(order, order.entry, onto, move), size - resumed
        except ResumeMismatch:
            # What was there from before the restart may be to blame: one fresh fetch of the whole file decides.
            order.progress.moved(-size)
            wasted = size - resumed
            return await self._deliver(order, order.entry, onto, move), wasted + size - resumed

    async def _deliver(self, order: Order, entry: Entry, onto: Sequence[Shelf], move: Move) -> Digest:
        """`entry` may know more than the order: the sha256 that a copy has. The key stays that of the order."""
        try:
            async with AsyncExitStack() as stack:
                parts, allocations = [], []
                for shelf in onto:
                    with shelf.translated(entry.size):
                        parts.append(await stack.enter_async_context(shelf.blobs.part(order.key, entry.size)))
                    allocations.append(stack.enter_context(order.room[shelf.name].allocated(entry.size)))
                with onto[0].translated(entry.size):
                    seen = await move.run(parts, self._counting(move.whence, onto, order.progress))
                for shelf, part, allocation in zip(onto, parts, allocations, strict=True):
                    shelf.turned_out(order.key, Digest.sha256(seen.sha256))
                    with shelf.translated(entry.size):
                        await part.publish(entry, seen)
                    allocation.commit()
                return Digest.sha256(seen.sha256)
        except VerificationFailed:
            stage = "pull" if move.whence == "origin" else "promote"
            self._metrics.verification_failures.labels(stage).inc()
            raise

    def _counting(self, whence: str, onto: Sequence[Shelf], progress: Progress) -> Callable[[int], None]:
        # What a tier copies within itself moves nowhere.
        ways = [f"{whence}_to_{shelf.name}" for shelf in onto if shelf.name != whence]
        counters = [self._metrics.moved_bytes.labels(way) for way in ways]

        def moved(delta: int) -> None:
            progress.moved(delta)
            for counter in counters:
                counter.inc(delta)

        return moved


async def _found(order: Order, shelf: Shelf) -> Digest | None:
    return (await shelf.locate({order.key: order.entry})).get(order.key)


def _without_first(count: int, rest: Callable[[int], None], first: Callable[[int], None]) -> Callable[[int], None]:
    """Tell `first` of the first `count` bytes, and `rest` of all others."""
    left = count

    def moved(delta: int) -> None:
        nonlocal left
        early = min(left, delta)
        left -= early
        if early:
            first(early)
        if delta > early:
            rest(delta - early)

    return moved


def part_key(manifest: Manifest, entry: Entry) -> str:
    """One name for the fetching of a file's bytes: its sha256, else one made of where it comes from."""
    if entry.digest.algorithm == "sha256":
        return entry.digest.value
    place = "\n".join([manifest.scheme, manifest.name, manifest.revision, entry.path])
    return hashlib.sha256(place.encode()).hexdigest()


def one_pass(lacking: Sequence[Shelf]) -> Sequence[Shelf]:
    """Who is written in one pass: a shelf per device, since two on one device only slow each other down."""
    first: dict[int, Shelf] = {}
    for shelf in lacking:
        first.setdefault(shelf.tier.device, shelf)
    return [*first.values()]


def _unseen(_: int) -> None:
    """A second look is no progress."""
