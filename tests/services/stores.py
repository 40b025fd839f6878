"""What a test of S3 stands on: the rooms below it, built anew, and a bucket of its own."""

from __future__ import annotations

import secrets
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from botocore.credentials import ReadOnlyCredentials
from prometheus_client import CollectorRegistry

from cachemgr.aio.iopool import IoPool
from cachemgr.aio.retry import Retry
from cachemgr.bucket.access import Access
from cachemgr.bucket.bucket import Bucket
from cachemgr.bucket.buckets import Buckets
from cachemgr.checkpoints.service import Checkpoints
from cachemgr.metrics import Metrics
from cachemgr.moving.patience import Patience
from cachemgr.moving.plane import DataPlane
from tests.services.s3 import S3Server, ministack_server, rclone_server

QUICK = Retry(3, first_pause_seconds=0.01, longest_pause_seconds=0.05)
SERVERS = {"ministack": ministack_server, "rclone": rclone_server}


@dataclass(frozen=True, slots=True)
class Rooms:
    """The rooms that move bytes to and from one server."""

    server: S3Server
    pool: IoPool
    plane: DataPlane
    buckets: Buckets
    metrics: Metrics
    checkpoints: Checkpoints

    async def bucket(self) -> Bucket:
        """A new, empty bucket."""
        return await self.buckets.open(await make_bucket(self))


@dataclass
class Told:
    """Remembers the progress that it is told of."""

    total_bytes: int = 0
    files: int = 0
    done_bytes: int = 0
    files_done: int = 0
    events: list[int] = field(default_factory=list)

    def expect(self, total_bytes: int, files: int) -> None:
        self.total_bytes, self.files = total_bytes, files

    def moved(self, delta_bytes: int) -> None:
        self.events.append(delta_bytes)
        self.done_bytes = sum(self.events)

    def file_done(self) -> None:
        self.files_done += 1


def access_to(server: S3Server) -> Access:
    """How to reach a server of the tests."""
    return Access(
        endpoint_url=server.endpoint_url,
        region=server.region,
        access_key_id=server.access_key_id,
        secret_access_key=server.secret_access_key,
    )


@asynccontextmanager
async def open_rooms(
    server: S3Server, access: Callable[[str], Access] | None = None, retry: Retry = QUICK
) -> AsyncIterator[Rooms]:
    """Build the rooms and take them down again."""
    pool = IoPool(4, "test")
    plane = DataPlane(patience=Patience(backoff_seconds=0.01, longest_wait_seconds=0.05, attempts=3))
    buckets = Buckets(access or (lambda _: access_to(server)), plane, pool, retry)
    metrics = Metrics(CollectorRegistry())
    try:
        yield Rooms(server, pool, plane, buckets, metrics, Checkpoints(buckets, plane, pool, metrics, 8))
    finally:
        await buckets.close()
        plane.close()
        pool.close()


async def make_bucket(rooms: Rooms) -> str:
    """Make a bucket with a name that nobody used before."""
    from cachemgr.bucket.signing import Signer  # noqa: PLC0415  # slow to import, and not every test needs it

    name, access = f"bucket-{secrets.token_hex(6)}", access_to(rooms.server)
    keys = ReadOnlyCredentials(access.access_key_id, access.secret_access_key, None)
    signed = Signer(keys, rooms.server.region, f"{access.endpoint_url}/{name}").sign("PUT", "")
    asked = urllib.request.Request(signed.url, method="PUT", headers=dict(signed.headers))
    with await rooms.pool.run(urllib.request.urlopen, asked) as answer:
        assert answer.status == 200
    return name


async def uploads(bucket: Bucket) -> int:
    """How many multipart uploads were begun and neither completed nor aborted."""
    return await bucket.abort_uploads("")


@contextmanager
def running_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The server that the fixture's parameter names."""
    with SERVERS[request.param](Path(tmp_path_factory.mktemp(request.param))) as server:
        yield server
