"""A real server on a real unix socket and TCP, over rooms in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from cachemgr.aio.iopool import IoPool
from cachemgr.api.connection import Limits
from cachemgr.api.routes import Routes
from cachemgr.api.server import ApiServer
from cachemgr.library.transfers import Transfers
from cachemgr.metrics import Metrics
from tests.api.fakes import FakeCheckpoints, FakeModels, FakeMovers, FakeOverview

TOKEN = "tcp-token-5f2c"


@dataclass
class World:
    """The server, what is behind it, and two ways in."""

    server: ApiServer
    routes: Routes
    models: FakeModels
    movers: FakeMovers
    transfers: Transfers
    metrics: Metrics
    socket: Path
    unix: aiohttp.ClientSession
    tcp: aiohttp.ClientSession

    @property
    def port(self) -> int:
        """Of the TCP side."""
        assert self.server.tcp_address is not None
        return self.server.tcp_address[1]


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
async def pool() -> AsyncIterator[IoPool]:
    pool = IoPool(2, "test")
    yield pool
    pool.close()


@pytest.fixture
async def world(tmp_path: Path, pool: IoPool, limits: Limits) -> AsyncIterator[World]:
    models, movers, metrics = FakeModels(), FakeMovers(), Metrics(CollectorRegistry())
    async with asyncio.TaskGroup() as group:
        transfers = Transfers(group, metrics)
        routes = Routes(models, movers, FakeCheckpoints(), FakeOverview(transfers), transfers, "1.0")
        path = tmp_path / "run" / "api.sock"
        server = ApiServer(routes.table, pool, path, "127.0.0.1:0", TOKEN, limits)
        await server.start()
        assert server.tcp_address is not None
        async with (
            aiohttp.ClientSession("http://localhost", connector=aiohttp.UnixConnector(str(path))) as unix,
            aiohttp.ClientSession(
                f"http://127.0.0.1:{server.tcp_address[1]}", headers={"Authorization": f"Bearer {TOKEN}"}
            ) as tcp,
        ):
            yield World(server, routes, models, movers, transfers, metrics, path, unix, tcp)
        await transfers.close()
        await server.close(0.2)
