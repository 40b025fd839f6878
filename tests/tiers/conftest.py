"""A tier on a fresh directory, with the real pool and the real data plane."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from cachemgr.aio.iopool import IoPool
from cachemgr.moving.plane import DataPlane
from cachemgr.tiers.directory import DirectoryTier

Open = Callable[[], Awaitable[DirectoryTier]]


@pytest.fixture
def pool() -> Iterator[IoPool]:
    it = IoPool(4, "tier")
    yield it
    it.close()


@pytest.fixture
def plane() -> Iterator[DataPlane]:
    it = DataPlane(2)
    yield it
    it.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "tier"


@pytest.fixture
def reopen(root: Path, pool: IoPool, plane: DataPlane) -> Open:
    """Open the tier as another start of the daemon would."""
    return lambda: DirectoryTier.open("disk", root, pool, plane, local=True)


@pytest.fixture
async def tier(reopen: Open) -> DirectoryTier:
    return await reopen()
