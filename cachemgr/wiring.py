"""Wiring: who is built from what. The only file that names concrete classes across rooms."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from cachemgr import __version__
from cachemgr.aio.iopool import IoPool
from cachemgr.api.admin import AdminServer
from cachemgr.api.routes import Routes
from cachemgr.api.server import ApiServer
from cachemgr.bucket.access import Access
from cachemgr.bucket.buckets import Buckets
from cachemgr.checkpoints.service import Checkpoints
from cachemgr.domain.errors import TierUnavailable
from cachemgr.domain.marks import Watermarks
from cachemgr.domain.ref import Ref
from cachemgr.library.acquire import Acquirer
from cachemgr.library.evict import Evictor
from cachemgr.library.fetch import Fetcher
from cachemgr.library.holding import Holding
from cachemgr.library.integrity import Integrity
from cachemgr.library.models import Models
from cachemgr.library.movers import Movers
from cachemgr.library.overview import Identity, Overview
from cachemgr.library.pull import Puller
from cachemgr.library.resolve import Resolver
from cachemgr.library.shelf import Shelf
from cachemgr.library.supply import Supply
from cachemgr.library.transfers import Transfers
from cachemgr.library.wanted import Wanted
from cachemgr.metrics import Metrics
from cachemgr.moving.plane import DataPlane
from cachemgr.origins.hub import HubOrigin
from cachemgr.settings import Settings
from cachemgr.tiers.directory import DirectoryTier
from cachemgr.tiers.holds import FlockHolds, UnprotectedHolds
from cachemgr.tiers.holds_volume import FileHolds
from cachemgr.tiers.lock import DaemonLock
from cachemgr.tiers.mounts import Mount, is_mount_point, mount_of, read_mounts
from cachemgr.tiers.space import Space

THREADS_PER_TIER = 8

TierHolds = FlockHolds | FileHolds | UnprotectedHolds


@dataclass(frozen=True, slots=True)
class Floor:
    """One tier with all that is built on it."""

    tier: DirectoryTier
    holds: TierHolds
    shelf: Shelf
    kind: str


@dataclass(frozen=True, slots=True)
class Foundation:
    """What rooms on every floor use."""

    pool: IoPool
    plane: DataPlane
    metrics: Metrics
    checkpoints: Checkpoints


@dataclass(frozen=True, slots=True)
class House:
    """What the daemon starts, looks after and stops."""

    worker: str
    floors: Sequence[Floor]
    pool: IoPool
    holding: Holding
    wanted: Wanted
    transfers: Transfers
    metrics: Metrics
    api: ApiServer
    admin: AdminServer | None


@asynccontextmanager
async def open_house(settings: Settings, tasks: asyncio.TaskGroup) -> AsyncIterator[House]:
    """Build everything and load what the tiers hold; nothing is served yet.

    Raises Held if another daemon works on the disk, TierUnavailable and Usage for what cannot be used.
    """
    async with AsyncExitStack() as stack:
        pool = IoPool(4, "cachemgr")
        stack.callback(pool.close)
        plane = DataPlane(settings.transfers.connections)
        stack.callback(plane.close)
        buckets = Buckets(partial(_access, settings), plane, pool)
        stack.push_async_callback(buckets.close)
        metrics = Metrics(CollectorRegistry())
        floors = await _floors(settings, plane, pool, stack)
        # Checkpoints lie anywhere, on a volume that hangs, too: they hash and look on threads of their own.
        readers = IoPool(THREADS_PER_TIER, "checkpoints")
        stack.callback(readers.close)
        checkpoints = Checkpoints(buckets, plane, readers, metrics, settings.transfers.files)
        yield _furnished(settings, tasks, Foundation(pool, plane, metrics, checkpoints), floors)


async def _floors(settings: Settings, plane: DataPlane, pool: IoPool, stack: AsyncExitStack) -> list[Floor]:
    """The tiers that are there, the fastest first."""
    mounts = await pool.run(read_mounts)
    floors = [await _floor("disk", settings.disk.path, settings, plane, mounts, stack)]
    volume = settings.volume.path
    # The default path counts only as a mount: images make it as a plain directory on the container's own disk.
    if volume is not None and (settings.volume.explicit or is_mount_point(volume, mounts)):
        floors.append(await _floor("volume", volume, settings, plane, mounts, stack))
    return floors


async def _floor(
    name: str, path: Path, settings: Settings, plane: DataPlane, mounts: Sequence[Mount], stack: AsyncExitStack
) -> Floor:
    pool = IoPool(THREADS_PER_TIER, name)
    stack.callback(pool.close)
    mount = await pool.run(mount_of, path, mounts)
    local = name == "disk" or (mount is not None and mount.local)
    hub = await pool.run(_hub_directory, settings, name, path, mounts)
    tier = await DirectoryTier.open(name, path, pool, plane, local=local, hub=hub)
    if name == "disk" and tier.writable:
        await _lock(DaemonLock(tier.layout), tier, pool, stack)
    holds = _holds(tier, pool)
    marks = await _disk_marks(settings, tier, pool) if name == "disk" else _volume_marks(settings)
    shelf = Shelf(tier, holds, Space(name, tier.root, marks, tier.measure, pool))
    await tier.sweep(holds.exclusive)
    await shelf.load()
    return Floor(tier, holds, shelf, "unknown" if mount is None else mount.kind)


async def _lock(lock: DaemonLock, tier: DirectoryTier, pool: IoPool, stack: AsyncExitStack) -> None:
    stack.push(lock)  # before it is taken: whoever is cancelled meanwhile gives it back all the same
    try:
        await pool.run(lock.__enter__)
    except OSError as error:
        raise TierUnavailable(f"the lock of the {tier.name} tier cannot be taken: {error}", tier=tier.name) from error


def _disk_bytes(disk: Shelf) -> int | None:
    """How many bytes of configured models the disk is meant for."""
    return disk.space.marks.high_bytes if disk.tier.writable else 0


def _holds(tier: DirectoryTier, pool: IoPool) -> TierHolds:
    if not tier.writable:
        return UnprotectedHolds()
    return FlockHolds(tier.layout, pool) if tier.local else FileHolds(tier.layout, pool)


def _hub_directory(settings: Settings, name: str, path: Path, mounts: Sequence[Mount]) -> Path | None:
    """The hub directory that the environment names, if it lies on this tier's file system; blocks."""
    wanted = settings.hub_cache
    if wanted is None or mount_of(wanted, mounts) != mount_of(path, mounts):
        return None
    other = settings.disk.path if name == "volume" else settings.volume.path
    # Both tiers on one file system (a test, a laptop): the one that it lies below, the volume if it is neither.
    if other is not None and mount_of(other, mounts) == mount_of(path, mounts):
        return (
            wanted if wanted.is_relative_to(path) or (name == "volume" and not wanted.is_relative_to(other)) else None
        )
    return wanted


async def _disk_marks(settings: Settings, tier: DirectoryTier, pool: IoPool) -> Watermarks:
    about = await pool.run(os.statvfs, tier.root)
    total = about.f_blocks * about.f_frsize
    disk = settings.disk
    return Watermarks(disk.low.of(total), disk.high.of(total), disk.hard.of(total), disk.min_free.of(total))


def _volume_marks(settings: Settings) -> Watermarks:
    marks = settings.volume.marks()
    return Watermarks.unlimited() if marks is None else Watermarks(*marks, 0)


def _furnished(settings: Settings, tasks: asyncio.TaskGroup, base: Foundation, floors: Sequence[Floor]) -> House:
    metrics, plane, files_at_once = base.metrics, base.plane, settings.transfers.files
    shelves = [floor.shelf for floor in floors]
    transfers, holding = Transfers(tasks, metrics), Holding()
    origin = HubOrigin(settings.hub.endpoint, _secret(settings.hub.token), os.environ)
    resolver, evictor = Resolver({origin.scheme: origin}, shelves), Evictor(metrics)
    puller = Puller(shelves, resolver, Supply(Fetcher(shelves, plane, metrics), evictor, files_at_once))
    wanted = Wanted([Ref.parse(text) for text in settings.models], puller, transfers, _disk_bytes(shelves[0]))
    acquirer = Acquirer(shelves, resolver, puller, transfers, holding, metrics)
    identity = Identity(__version__, os.environ.get("RUNPOD_POD_ID") or socket.gethostname(), time.time())
    kinds = {floor.tier.name: floor.kind for floor in floors}
    overview = Overview(identity, shelves, kinds, wanted, transfers, holding)
    routes = Routes(
        models=Models(shelves, resolver, acquirer, evictor, holding),
        movers=Movers(puller, Integrity(shelves, resolver, plane, metrics, files_at_once)),
        checkpoints=base.checkpoints,
        overview=overview,
        transfers=transfers,
        version=__version__,
    )
    _read_memory(metrics, shelves, wanted, holding)
    return House(
        worker=identity.worker,
        floors=floors,
        pool=base.pool,
        holding=holding,
        wanted=wanted,
        transfers=transfers,
        metrics=metrics,
        api=_api(settings, routes, base.pool),
        admin=_admin(settings, overview, metrics, base.pool),
    )


def _api(settings: Settings, routes: Routes, pool: IoPool) -> ApiServer:
    listen = str(settings.api.listen) if settings.api.listen else None
    return ApiServer(routes.table, pool, settings.api.socket, listen, _secret(settings.api.token))


def _admin(settings: Settings, overview: Overview, metrics: Metrics, pool: IoPool) -> AdminServer | None:
    if settings.admin.listen is None:
        return None
    return AdminServer(overview, metrics.registry, pool, str(settings.admin.listen))


def _access(settings: Settings, bucket: str) -> Access:
    store = settings.s3.store(bucket)
    return Access(
        endpoint_url=store.endpoint_url,
        region=store.region,
        path_style=store.path_style,
        access_key_id=store.access_key_id,
        secret_access_key=_secret(store.secret_access_key),
        session_token=_secret(store.session_token),
    )


def _secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()


def _read_memory(metrics: Metrics, shelves: Sequence[Shelf], wanted: Wanted, holding: Holding) -> None:
    """Gauges whose values stand in memory already are read there by each scrape."""
    metrics.holds.set_function(lambda: len(holding))
    metrics.stale_models.set_function(wanted.stale_count)
    for shelf in shelves:
        metrics.tier_used_bytes.labels(shelf.name).set_function(_used(shelf))
        marks = shelf.space.marks
        for mark, size in (("low", marks.low_bytes), ("high", marks.high_bytes), ("hard", marks.hard_bytes)):
            metrics.tier_limit_bytes.labels(shelf.name, mark).set(size or 0)


def _used(shelf: Shelf) -> Callable[[], float]:
    return lambda: shelf.space.usage().used_bytes
