"""The read path on real tiers, with a real data plane and an origin that says and serves what a test wants."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry

from cachemgr.aio.iopool import IoPool
from cachemgr.domain.digest import Digest
from cachemgr.domain.errors import NotFound, OriginUnavailable
from cachemgr.domain.manifest import Entry, Manifest
from cachemgr.domain.marks import Watermarks
from cachemgr.domain.ref import Ref
from cachemgr.library.acquire import Acquirer
from cachemgr.library.answers import Answer, Pulled
from cachemgr.library.evict import Evictor
from cachemgr.library.fetch import Fetcher
from cachemgr.library.holding import Holding
from cachemgr.library.integrity import Integrity
from cachemgr.library.models import Models
from cachemgr.library.pull import Puller, Wish
from cachemgr.library.resolve import Resolver
from cachemgr.library.shelf import Shelf
from cachemgr.library.supply import Supply
from cachemgr.library.transfers import Transfers
from cachemgr.library.wanted import Wanted
from cachemgr.metrics import Metrics
from cachemgr.moving.patience import Patience
from cachemgr.moving.plane import DataPlane
from cachemgr.moving.remote import Remote, Request
from cachemgr.tiers.access import Access
from cachemgr.tiers.directory import DirectoryTier
from cachemgr.tiers.holds import FlockHolds, UnprotectedHolds
from cachemgr.tiers.holds_volume import FileHolds
from cachemgr.tiers.space import Space
from tests.moving.origin import Exchange, FaultyOrigin
from tests.tiers.making import git_sha1

UNLIMITED = Watermarks.unlimited()
BIG = 5000
"""From this size on the origin knows a file by its sha256, as the Hub does with large files."""

FILES: Mapping[str, bytes] = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer/vocab.txt": b"a b c",
    "tokenizer/merges.txt": b"a b",
    "model-1.safetensors": b"one" * 7000,
    "model-2.safetensors": b"two" * 7000,
}
SIZE = sum(map(len, FILES.values()))


def unlike(seed: str) -> dict[str, bytes]:
    """A model of the usual size that shares no bytes with another."""
    return {path: _noise(f"{seed} {path}", len(data)) for path, data in FILES.items()}


def _noise(seed: str, size: int) -> bytes:
    return (hashlib.sha256(seed.encode()).hexdigest().encode() * (1 + size // 64))[:size]


@dataclass
class Hub:
    """A strict origin: it serves what it was told, counts what it is asked, and fails on what it never offered."""

    http: FaultyOrigin
    resolved: int = 0
    away: bool = False
    revisions: dict[tuple[str, str], Mapping[str, bytes]] = field(default_factory=dict)
    heads: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, name: str, files: Mapping[str, bytes] = FILES, branch: str = "main") -> Ref:
        """Make `files` what `name@branch` is from now on."""
        state = "".join(f"{path}:{hashlib.sha1(data).hexdigest()}" for path, data in files.items())
        commit = hashlib.sha1(f"{name}{state}".encode()).hexdigest()
        self.revisions[name, commit] = files
        self.heads[name, branch] = commit
        for path, data in files.items():
            self.http.files[f"/{name}/{commit}/{path}"] = data
        return Ref.parse(f"hf://{name}@{branch}" if branch != "main" else f"hf://{name}")

    def place(self, ref: Ref, path: str) -> str:
        """Where a file is served."""
        commit = ref.revision if ref.fixed else self.heads[ref.name, ref.revision]
        return f"/{ref.name}/{commit}/{path}"

    def fetched(self) -> dict[str, int]:
        """Bytes served so far, by the path within the repository."""
        return {path.split("/", 4)[4]: count for path, count in self.http.bytes_sent.items() if count}

    async def resolve(self, ref: Ref) -> Manifest:
        """What it is now."""
        assert ref.path is None
        self.resolved += 1
        if self.away:
            raise OriginUnavailable("the origin is away")
        commit = ref.revision if ref.fixed else self.heads.get((ref.name, ref.revision))
        if commit is None or (ref.name, commit) not in self.revisions:
            raise NotFound(f"{ref} is not there")
        return Manifest(
            "hf", ref.name, commit, tuple(_entry(*file) for file in self.revisions[ref.name, commit].items())
        )

    def remote(self, manifest: Manifest, entry: Entry) -> Remote:
        """Where the bytes of one file are."""
        data = self.revisions[manifest.name, manifest.revision][entry.path]
        assert entry.size == len(data)
        url = f"{self.http.url}/{manifest.name}/{manifest.revision}/{entry.path}"
        return Remote(entry.size, lambda: Request(url, {}), follow_redirects=False)


def _entry(path: str, data: bytes) -> Entry:
    if len(data) >= BIG:
        sha = hashlib.sha256(data).hexdigest()
        return Entry(path, len(data), Digest.sha256(sha), sha)
    return Entry(path, len(data), Digest("git-sha1", git_sha1(data)), git_sha1(data))


class Barrier:
    """A fault that reports a request and lets it through when it is told to."""

    def __init__(self) -> None:
        self._asked, self._open = threading.Event(), threading.Event()

    def __call__(self, exchange: Exchange) -> None:
        """Hold this request."""
        self._asked.set()
        assert self._open.wait(15)
        exchange.serve()

    async def asked(self) -> None:
        """Return once a request waits here."""
        await asyncio.get_running_loop().run_in_executor(None, self._asked.wait, 15)

    def open(self) -> None:
        """Let it through."""
        self._open.set()


def flip(exchange: Exchange) -> None:
    """Serve other bytes of the same length."""
    start, end = exchange.good_head()
    exchange.sock.sendall(bytes(byte ^ 1 for byte in exchange.content[start:end]))


class Silent:
    """Progress that only adds up."""

    def __init__(self) -> None:
        self.expected, self.done, self.files_done = 0, 0, 0
        self._lock = threading.Lock()

    def expect(self, total_bytes: int, files: int) -> None:
        """How much there is."""
        self.expected = total_bytes

    def moved(self, delta_bytes: int) -> None:
        """Some more."""
        with self._lock:
            self.done += delta_bytes

    def file_done(self) -> None:
        """One more."""
        self.files_done += 1


@dataclass
class Library:
    """All of the read path."""

    hub: Hub
    plane: DataPlane
    metrics: Metrics
    shelves: Sequence[Shelf]
    resolver: Resolver
    evictor: Evictor
    puller: Puller
    transfers: Transfers
    holding: Holding
    acquirer: Acquirer
    models: Models
    integrity: Integrity

    def __getitem__(self, tier: str) -> Shelf:
        return next(shelf for shelf in self.shelves if shelf.name == tier)

    async def pull(self, ref: Ref | str, tier: str = "volume", **more: object) -> Pulled:
        """Bring it to a tier."""
        ref = Ref.parse(ref) if isinstance(ref, str) else ref
        wish = Wish(ref, tier, **more)  # type: ignore[arg-type]  # the tests name the members of a wish
        return await self.puller.pull(wish, Silent())

    async def acquire(
        self,
        ref: Ref,
        tier: str = "any",
        wait: float | None = None,
        hold: float = 60.0,
        max_age: float | None = None,
    ) -> Answer:
        """A held directory."""
        return await self.models.acquire(ref, wait_seconds=wait, hold_seconds=hold, tier=tier, max_age_seconds=max_age)

    def wanted(self, *refs: Ref, disk_bytes: int | None = None) -> Wanted:
        """The configured models."""
        return Wanted(refs, self.puller, self.transfers, disk_bytes)

    def sample(self, name: str, **labels: str) -> float:
        """The value of one series."""
        value = self.metrics.registry.get_sample_value(name, labels)
        assert value is not None, name
        return value

    def on(self, tier: str) -> set[str]:
        """The repositories that are sealed on a tier, as its files say."""
        seals = self[tier].tier.root.glob(".cachemgr/manifests/*.json")
        return {path.name.split("--")[2] for path in seals}


@dataclass(frozen=True)
class Floor:
    """How one tier is to be: its marks, and whether it can be written."""

    marks: Watermarks = UNLIMITED
    writable: bool = True


BOTH: Mapping[str, Floor] = {"disk": Floor(), "volume": Floor()}


@asynccontextmanager
async def library(root: Path, hub: Hub, floors: Mapping[str, Floor] = BOTH) -> AsyncIterator[Library]:
    """A read path on these tiers (the fastest first), which stand for different devices."""
    async with AsyncExitStack() as stack:
        pool = IoPool(4, "tier")
        stack.callback(pool.close)
        plane = DataPlane(2, patience=Patience(stall_seconds=5.0, backoff_seconds=0.01))
        stack.callback(plane.close)
        shelves = [await _shelf(name, root / name, floor, pool, plane, stack) for name, floor in floors.items()]
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        built = _build(hub, plane, shelves, tasks)
        stack.push_async_callback(built.transfers.close)
        stack.callback(built.holding.close)
        yield built


async def _shelf(name: str, root: Path, floor: Floor, pool: IoPool, plane: DataPlane, stack: AsyncExitStack) -> Shelf:
    local = name == "disk"
    tier = await DirectoryTier.open(name, root, pool, plane, local=local)
    if not floor.writable:
        access = Access(name, root, local, "the test says so")
        tier = DirectoryTier(tier.layout, access, pool, plane, tier.device)
    tier.device = len(name)
    shelf = Shelf(tier, _holds(tier, pool, stack), Space(name, root, floor.marks, tier.measure, pool))
    await shelf.load()
    return shelf


def _holds(tier: DirectoryTier, pool: IoPool, stack: AsyncExitStack) -> FlockHolds | FileHolds | UnprotectedHolds:
    if not tier.writable:
        return UnprotectedHolds()
    if tier.local:
        return FlockHolds(tier.layout, pool)
    holds = FileHolds(tier.layout, pool, settle_seconds=0.01)
    stack.push_async_callback(holds.close)
    return holds


def _build(hub: Hub, plane: DataPlane, shelves: Sequence[Shelf], tasks: asyncio.TaskGroup) -> Library:
    metrics = Metrics(CollectorRegistry())
    resolver, evictor, holding = Resolver({"hf": hub}, shelves), Evictor(metrics), Holding()
    transfers = Transfers(tasks, metrics)
    puller = Puller(shelves, resolver, Supply(Fetcher(shelves, plane, metrics), evictor, 4))
    acquirer = Acquirer(shelves, resolver, puller, transfers, holding, metrics)
    return Library(
        hub=hub,
        plane=plane,
        metrics=metrics,
        shelves=shelves,
        resolver=resolver,
        evictor=evictor,
        puller=puller,
        transfers=transfers,
        holding=holding,
        acquirer=acquirer,
        models=Models(shelves, resolver, acquirer, evictor, holding),
        integrity=Integrity(shelves, resolver, plane, metrics, 4),
    )
