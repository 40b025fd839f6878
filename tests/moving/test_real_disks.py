"""Real file systems, small and remote: the bytes arrive, or the system's own error does."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachemgr.moving.plane import DataPlane
from cachemgr.moving.target import Target
from tests.moving.desk import MIB, fetch, holds, noise, remote, seen
from tests.moving.origin import FaultyOrigin
from tests.services.disk import sized_disk
from tests.services.netvol import NetworkVolume, network_volume

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def volume() -> Iterator[NetworkVolume]:
    with network_volume(64 * MIB) as it:
        yield it


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    with sized_disk(64 * MIB) as it:
        yield it


async def failure(plane: DataPlane, origin: FaultyOrigin, into: Target, size: int) -> int | None:
    """The number of the error that a fetch of `size` bytes ends with."""
    origin.files["/f"] = noise(size)
    into.path.touch()
    with pytest.raises(OSError) as caught:  # noqa: PT011 (its number is what the caller asks for)
        await plane.fetch(remote(origin, "/f", size), [into], git_sha1=False, progress=lambda _: None)
    into.path.unlink()
    return caught.value.errno


async def test_a_network_volume_takes_bytes_whole(
    plane: DataPlane, origin: FaultyOrigin, volume: NetworkVolume
) -> None:
    data = noise(20 * MIB + 4097)
    assert await fetch(plane, origin, data, volume.a / "f", local=False) == seen(data)
    assert holds(volume.b / "f", data)
    again = await plane.digest(volume.b / "f", size=len(data), git_sha1=True, progress=lambda _: None)
    assert again == seen(data)


async def test_direct_writes_suit_a_network_volume_too(
    plane: DataPlane, origin: FaultyOrigin, volume: NetworkVolume
) -> None:
    data = noise(9 * MIB + 5)
    assert await fetch(plane, origin, data, volume.a / "g") == seen(data)
    assert holds(volume.b / "g", data)


async def test_a_volume_over_its_quota_says_so(plane: DataPlane, origin: FaultyOrigin, volume: NetworkVolume) -> None:
    assert await failure(plane, origin, Target(volume.a / "h", False), 80 * MIB) == errno.EDQUOT


@pytest.mark.parametrize("local", [True, False], ids=["local", "elsewhere"])
async def test_a_full_disk_says_so(plane: DataPlane, origin: FaultyOrigin, disk: Path, local: bool) -> None:
    assert await failure(plane, origin, Target(disk / "f", local), 80 * MIB) == errno.ENOSPC


async def test_one_full_target_of_two_ends_both(
    plane: DataPlane, origin: FaultyOrigin, disk: Path, tmp_path: Path
) -> None:
    data, moved = noise(80 * MIB), list[int]()
    origin.files["/f"] = data
    both = [Target(tmp_path / "f", True), Target(disk / "f", False)]
    for one in both:
        one.path.touch()
    with pytest.raises(OSError, match="No space"):
        await plane.fetch(remote(origin, "/f", len(data)), both, git_sha1=False, progress=moved.append)
    assert sum(moved) < len(data)
