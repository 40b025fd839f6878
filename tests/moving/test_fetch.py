"""A fetch brings exactly the origin's bytes, whatever their number and wherever they go."""

from __future__ import annotations

from pathlib import Path

import pytest

from cachemgr.moving.plane import DataPlane
from cachemgr.moving.target import Resume
from tests.moving.desk import MIB, fetch, noise, remote, seen, target
from tests.moving.origin import FaultyOrigin

SIZES = [0, 1, 511, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 12 * MIB + 4097]


@pytest.mark.parametrize("local", [True, False], ids=["local", "elsewhere"])
@pytest.mark.parametrize("size", SIZES)
async def test_every_size_arrives_whole(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path, size: int, local: bool
) -> None:
    data = noise(size)
    assert await fetch(plane, origin, data, tmp_path / "f", local=local) == seen(data)


@pytest.mark.parametrize("local", [True, False], ids=["local", "elsewhere"])
@pytest.mark.parametrize("size", [64 * MIB, 64 * MIB + 1, 72 * MIB - 1, 100 * MIB])
async def test_large_files_arrive_whole(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path, size: int, local: bool
) -> None:
    data = noise(size)
    assert await fetch(plane, origin, data, tmp_path / "f", local=local) == seen(data)
    assert ("range" in origin.asked[0].headers) == (size > 64 * MIB)
    assert origin.bytes_sent["/f"] == size
