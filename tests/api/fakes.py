"""Rooms below the API, in memory: they refuse arguments that the ports do not promise."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from cachemgr.domain.errors import DeadlineExceeded, Held, NotFound, Usage
from cachemgr.domain.ref import Ref
from cachemgr.library.answers import (
    Answer,
    BadFile,
    Check,
    Listed,
    ModelState,
    Pulled,
    Removed,
    Status,
    TierUse,
    Verified,
)
from cachemgr.library.transfers import Transfer, Transfers

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ID = f"hf--acme--m20--{COMMIT}"
REF = "hf://acme/m20@main"
PATH = f"/disk/models--acme--m20/snapshots/{COMMIT}"
WHEN = "2026-01-02T03:04:05.000Z"


def listed(id: str = ID, tier: str = "disk", pinned: bool = False) -> Listed:
    """One snapshot."""
    return Listed(id, REF, COMMIT, tier, PATH, 1000, 20, WHEN, held=False, pinned=pinned, adopted=False)


class Gate:
    """A call that reports it started and waits to be let through."""

    def __init__(self) -> None:
        self.started, self.open, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.cancelled = False

    async def __call__(self) -> None:
        self.started.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.ended.set()


def _seconds(value: float | None) -> None:
    assert value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)), value
    assert value is None or (math.isfinite(value) and value >= 0), value


def _tier(value: str | None, *allowed: str | None) -> None:
    assert value in allowed, value


@dataclass
class FakeModels:
    """One model, `hf://acme/m20@main`, on the disk; `hf://acme/slow` waits for `gate`."""

    gate: Gate = field(default_factory=Gate)
    holds: dict[str, float] = field(default_factory=dict)
    asked: list[tuple[str, float | None]] = field(default_factory=list)
    pinned: set[str] = field(default_factory=set)
    error: BaseException | None = None
    many: int = 1

    async def acquire(
        self,
        ref: Ref,
        *,
        wait_seconds: float | None,
        hold_seconds: float,
        tier: str,
        max_age_seconds: float | None,
    ) -> Answer:
        _seconds(wait_seconds)
        _seconds(hold_seconds)
        _seconds(max_age_seconds)
        _tier(tier, "any", "disk", "volume")
        self._raise()
        self.asked.append((str(ref), wait_seconds))
        if ref.name == "acme/slow":
            await self.gate()
        elif ref.name != "acme/m20":
            raise NotFound(f"{ref} is not here") if wait_seconds == 0 else DeadlineExceeded(f"{ref} took too long")
        hold = f"h{len(self.holds)}" if hold_seconds else None
        if hold:
            self.holds[hold] = hold_seconds
        return Answer(str(ref), ID, COMMIT, PATH, "disk", hold, WHEN if hold else None, WHEN, stale=False)

    async def renew(self, hold: str, seconds: float) -> str:
        _seconds(seconds)
        if hold not in self.holds:
            raise NotFound("no such hold")
        self.holds[hold] = seconds
        return WHEN

    async def release(self, hold: str) -> None:
        if self.holds.pop(hold, None) is None:
            raise NotFound("no such hold")

    async def listed(self, tier: str | None, id: str | None) -> list[Listed]:
        _tier(tier, None, "disk", "volume")
        self._raise()
        if id is None:
            return [listed(f"{ID}{n}") for n in range(self.many)]
        return [listed()] if self._known(id) else []

    async def pin(self, id_or_ref: str, tier: str | None) -> list[Listed]:
        self._require(id_or_ref, tier)
        self.pinned.add(ID)
        return [listed(pinned=True)]

    async def unpin(self, id_or_ref: str, tier: str | None) -> list[Listed]:
        self._require(id_or_ref, tier)
        self.pinned.discard(ID)
        return [listed()]

    async def remove(self, id_or_ref: str, tier: str | None, dry_run: bool) -> Removed:
        assert isinstance(dry_run, bool)
        self._require(id_or_ref, tier)
        if self.holds:
            raise Held(f"{ID} is held by {len(self.holds)} readers", holders=len(self.holds))
        return Removed(tier or "disk", (ID,), 1000, dry_run)

    async def evict(self, tier: str, ref: Ref | None, bytes_wanted: int | None, dry_run: bool) -> Removed:
        _tier(tier, "disk", "volume")
        assert ref is None or isinstance(ref, Ref)
        assert bytes_wanted is None or 0 <= bytes_wanted < 2**63
        assert isinstance(dry_run, bool)
        return Removed(tier, (ID,), 1000, dry_run)

    def _require(self, id_or_ref: str, tier: str | None) -> None:
        _tier(tier, None, "disk", "volume")
        if not self._known(id_or_ref):
            raise NotFound(f"{id_or_ref} is not here")

    def _known(self, id_or_ref: str) -> bool:
        assert "/" not in id_or_ref.partition("://")[0], id_or_ref
        return id_or_ref in (ID, REF)

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error


Job = Callable[[Transfer], Awaitable[object]]


@dataclass
class FakeMovers:
    """Moves 100 bytes of one file, waiting for `gate` half-way."""

    gate: Gate = field(default_factory=Gate)
    error: Exception | None = None

    def prefetch(self, ref: Ref, tier: str, include: Sequence[str], exclude: Sequence[str], allow_stale: bool) -> Job:
        _tier(tier, "disk", "volume")
        assert all(isinstance(pattern, str) for pattern in (*include, *exclude))
        assert isinstance(allow_stale, bool)

        async def job(transfer: Transfer) -> Pulled:
            transfer.expect(100, 1)
            transfer.moved(50)
            await self.gate()
            if self.error is not None:
                raise self.error
            transfer.moved(50)
            transfer.verifying()
            transfer.file_done()
            return Pulled(str(ref), ID, COMMIT, PATH, tier, 100, 1, 100, 0, 0.5, WHEN, stale=False)

        return job

    def verify(self, ref: Ref | None, tier: str | None) -> Job:
        _tier(tier, None, "disk", "volume")
        assert ref is None or isinstance(ref, Ref)

        async def job(transfer: Transfer) -> Verified:
            return Verified(3, (BadFile("disk", ID, "model.bin", "sha256 differs"),))

        return job


@dataclass(frozen=True)
class Published:
    """What a push results in."""

    name: str
    seq: int


class FakeCheckpoints:
    """Publishes at once."""

    def push(self, directory: str, to: str, name: str | None) -> Job:
        _paths(directory, to)

        async def job(transfer: Transfer) -> Published:
            return Published(name or "step-1", 1)

        return job

    def pull(self, source: str, directory: str, name: str | None) -> Job:
        return self.push(directory, source, name)

    async def listed(self, at: str) -> list[Published]:
        _paths("/", at)
        return [Published("step-1", 1)]


def _paths(directory: str, bucket: str) -> None:
    assert directory.startswith("/"), directory
    assert "\0" not in directory
    assert bucket.startswith("s3://"), bucket
    if "secret" in bucket:
        raise Usage("no such bucket")


@dataclass
class FakeOverview:
    """A daemon that is well, unless told otherwise."""

    transfers: Transfers | None = None
    checks: list[Check] = field(default_factory=lambda: [Check("disk", True, "writable")])

    def status(self) -> Status:
        error = {"code": "not_found", "detail": "no such repository", "hint": "check the name"}
        models = (
            ModelState(REF, "ready", "disk", PATH, None),
            ModelState("hf://acme/none@main", "failed", None, None, error),
        )
        views = tuple(transfer.view() for transfer in self.transfers.list()) if self.transfers else ()
        return Status("1.0", 42, "w-1", WHEN, 12.5, tuple(self.df()), models, views, 1)

    def df(self) -> list[TierUse]:
        return [TierUse("disk", "/disk", "ext4", 10, 0, 90, 70, 80, 90)]

    def readiness(self) -> list[Check]:
        return self.checks
