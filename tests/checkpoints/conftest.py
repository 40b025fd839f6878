"""Servers that run once, and a run that every test has for itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from cachemgr.bucket.bucket import Bucket
from tests.checkpoints.runs import Run
from tests.services.s3 import S3Server
from tests.services.s3_faults import FaultyStore, faulty_store
from tests.services.stores import SERVERS, Rooms, open_rooms, running_server


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_server(request, tmp_path_factory) as running:
        yield running


@pytest.fixture
def faulty(server: S3Server) -> Iterator[FaultyStore]:
    with faulty_store(server) as store:
        yield store


@pytest.fixture
async def rooms(server: S3Server) -> AsyncIterator[Rooms]:
    async with open_rooms(server) as opened:
        yield opened


@pytest.fixture
async def bucket(rooms: Rooms) -> Bucket:
    return await rooms.bucket()


@pytest.fixture
def run(rooms: Rooms, bucket: Bucket) -> Run:
    return Run(rooms, bucket)


@pytest.fixture
async def faulty_run(faulty: FaultyStore) -> AsyncIterator[Run]:
    async with open_rooms(faulty.server) as opened:
        yield Run(opened, await opened.bucket())
