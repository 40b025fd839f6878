"""A daemon's API as it is served, over rooms that do what a test tells them: strict about every request."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram

from cachemgr.aio.iopool import IoPool
from cachemgr.api.routes import Routes
from cachemgr.api.server import ApiServer
from cachemgr.domain.errors import CachemgrError, DeadlineExceeded, NotFound
from cachemgr.domain.ref import Ref
from cachemgr.library.answers import Answer, Check, Listed, Pulled, Removed, Status, TierUse, Verified, timestamp
from cachemgr.library.transfers import Transfer, Transfers

Job = Callable[[Transfer], Awaitable[object]]


async def eventually(condition: Callable[[], object]) -> None:
    """Wait, without holding up the loop, until it is so: what is waited for happens in other threads."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to be")


@dataclass
class Meters:
    """The families that transfers count in, on a registry of their own."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.transfers_started = Counter("started", "-", ["kind"], registry=self.registry)
        self.transfers_finished = Counter("finished", "-", ["kind", "outcome"], registry=self.registry)
        self.transfer_seconds = Histogram("seconds", "-", ["kind"], registry=self.registry)


@dataclass
class World:
    """What the daemon knows, and what it was asked: tests write the one and read the other."""

    answers: dict[str, Answer] = field(default_factory=dict)
    listed: list[Listed] = field(default_factory=list)
    pulls: dict[str, Callable[[Transfer], Awaitable[Pulled]]] = field(default_factory=dict)
    checkpoints: list[dict[str, object]] = field(default_factory=list)
    uses: list[TierUse] = field(default_factory=list)
    status: Status | None = None
    verified: Verified = field(default_factory=lambda: Verified(0, ()))
    trouble: CachemgrError | None = None
    asked: list[tuple[object, ...]] = field(default_factory=list)
    holds: set[str] = field(default_factory=set)
    hold_names: Iterator[str] = field(default_factory=lambda: (f"hold{n}" for n in range(1000)))
    open: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.open.set()

    def calls(self, name: str) -> list[tuple[object, ...]]:
        """The arguments of each call of this name."""
        return [call[1:] for call in self.asked if call[0] == name]

    def judge(self) -> None:
        """Raise what the test wants raised."""
        if self.trouble is not None:
            raise self.trouble


class Models:
    """Answers from the world; waits while its gate is shut."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def acquire(
        self, ref: Ref, *, wait_seconds: float | None, hold_seconds: float, tier: str, max_age_seconds: float | None
    ) -> Answer:
        self._world.asked.append(("acquire", str(ref), wait_seconds, hold_seconds, tier))
        self._world.judge()
        await eventually(self._world.open.is_set)
        answer = self._world.answers.get(str(ref))
        if answer is None or tier not in ("any", answer.tier):
            raise NotFound(f"{ref} is not here", hint=f"`cachemgr pull {ref}` brings it")
        if not hold_seconds:
            return answer
        hold = next(self._world.hold_names)
        self._world.holds.add(hold)
        return replace(answer, hold=hold, expires_at=timestamp(0))

    async def renew(self, hold: str, seconds: float) -> str:
        self._world.asked.append(("renew", hold, seconds))
        if hold not in self._world.holds:
            raise NotFound("this hold has ended")
        return timestamp(0)

    async def release(self, hold: str) -> None:
        self._world.asked.append(("release", hold))
        self._world.holds.discard(hold)

    async def listed(self, tier: str | None, id: str | None) -> list[Listed]:
        rows = [row for row in self._world.listed if tier in (None, row.tier) and id in (None, row.id, row.ref)]
        if id is not None and not rows:
            raise NotFound(f"{id} is not here", hint="`cachemgr ls` shows what is")
        return rows

    async def pin(self, id_or_ref: str, tier: str | None) -> list[Listed]:
        self._world.asked.append(("pin", id_or_ref, tier))
        return [replace(row, pinned=True) for row in await self.listed(tier, id_or_ref)]

    async def unpin(self, id_or_ref: str, tier: str | None) -> list[Listed]:
        self._world.asked.append(("unpin", id_or_ref, tier))
        return [replace(row, pinned=False) for row in await self.listed(tier, id_or_ref)]

    async def remove(self, id_or_ref: str, tier: str | None, dry_run: bool) -> Removed:
        self._world.asked.append(("remove", id_or_ref, tier, dry_run))
        self._world.judge()
        rows = await self.listed(tier, id_or_ref)
        return Removed(tier or rows[0].tier, (rows[0].id,), rows[0].bytes, dry_run)

    async def evict(self, tier: str, ref: Ref | None, bytes_wanted: int | None, dry_run: bool) -> Removed:
        self._world.asked.append(("evict", tier, None if ref is None else str(ref), bytes_wanted, dry_run))
        self._world.judge()
        rows = await self.listed(tier, None)
        return Removed(tier, tuple(row.id for row in rows), sum(row.bytes for row in rows), dry_run)


class Movers:
    """Runs the jobs that the world has."""

    def __init__(self, world: World) -> None:
        self._world = world

    def prefetch(self, ref: Ref, tier: str, include: Sequence[str], exclude: Sequence[str], allow_stale: bool) -> Job:
        self._world.asked.append(("prefetch", str(ref), tier, tuple(include), tuple(exclude), allow_stale))
        self._world.judge()
        job = self._world.pulls.get(str(ref))
        if job is None:
            raise NotFound(f"{ref} does not exist at the origin")
        return job

    def verify(self, ref: Ref | None, tier: str | None) -> Job:
        self._world.asked.append(("verify", None if ref is None else str(ref), tier))

        async def job(transfer: Transfer) -> Verified:
            transfer.expect(10, 1)
            transfer.moved(10)
            return self._world.verified

        return job


class Checkpoints:
    """Publishes nothing, but says so."""

    def __init__(self, world: World) -> None:
        self._world = world

    def push(self, directory: str, to: str, name: str | None) -> Job:
        self._world.asked.append(("push", directory, to, name))
        return self._done({"name": name or Path(directory).name, "seq": 1, "bytes": 10, "files": 1})

    def pull(self, source: str, directory: str, name: str | None) -> Job:
        self._world.asked.append(("restore", source, directory, name))
        return self._done({"name": name or "last", "seq": 1, "bytes": 10, "files": 1, "path": f"{directory}/last"})

    async def listed(self, at: str) -> Sequence[object]:
        self._world.asked.append(("checkpoints", at))
        self._world.judge()
        return self._world.checkpoints

    def _done(self, result: dict[str, object]) -> Job:
        async def job(transfer: Transfer) -> object:
            transfer.expect(10, 1)
            transfer.moved(10)
            self._world.judge()
            return result

        return job


class Overview:
    """What the world says about itself."""

    def __init__(self, world: World) -> None:
        self._world = world

    def status(self) -> Status:
        if self._world.status is None:
            raise DeadlineExceeded("no status was prepared")
        return self._world.status

    def df(self) -> list[TierUse]:
        return self._world.uses

    def readiness(self) -> list[Check]:
        return []


async def serve(world: World, socket: Path, ready: threading.Event, until: asyncio.Event) -> None:
    """Serve the API of this world on `socket`."""
    pool = IoPool(2, "stand-in")
    async with asyncio.TaskGroup() as tasks:
        transfers = Transfers(tasks, Meters())
        routes = Routes(Models(world), Movers(world), Checkpoints(world), Overview(world), transfers, "0.0.0")
        server = ApiServer(routes.table, pool, socket)
        await server.start()
        ready.set()
        await until.wait()
        await transfers.close()
        await server.close(0.1)
    pool.close()


@contextmanager
def serving(world: World, socket: Path) -> Iterator[None]:
    """The API of this world on `socket`, from a thread, inside the block."""
    ready, loop, until = threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve(world, socket, ready, until)))
    thread.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        loop.call_soon_threadsafe(until.set)
        thread.join()
        loop.close()


def write_client_json(socket: Path, tiers: Sequence[dict[str, object]]) -> None:
    """What the daemon writes beside its socket."""
    document = {"version": 1, "socket": str(socket), "pid": 1, "tiers": list(tiers)}
    (socket.parent / "client.json").write_text(json.dumps(document))
