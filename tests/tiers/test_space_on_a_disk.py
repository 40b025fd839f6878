"""The budget of a tier against a real file system that is small enough to be filled."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cachemgr.aio.iopool import IoPool
from cachemgr.domain.errors import NoSpace
from cachemgr.domain.marks import Watermarks
from cachemgr.tiers.layout import Layout
from cachemgr.tiers.space import Space
from tests.services.disk import sized_disk

pytestmark = pytest.mark.integration

MIB = 1 << 20
SLACK = MIB
"""What the file system takes for its own: directories, extents."""


@pytest.fixture
def disk() -> Iterator[Path]:
    with sized_disk(64 * MIB) as path:
        for directory in Layout(path).directories:
            directory.mkdir(parents=True)
        yield path


@pytest.fixture
async def pool() -> AsyncIterator[IoPool]:
    pool = IoPool(2, "space")
    yield pool
    pool.close()


async def on(disk: Path, pool: IoPool, marks: Watermarks) -> Space:
    layout = Layout(disk)

    async def measure() -> int:
        return sum(path.stat().st_size for path in (*layout.blobs.iterdir(), *layout.parts.iterdir()))

    space = Space("disk", disk, marks, measure, pool)
    await space.refresh()
    return space


def part(disk: Path, size: int, *, filled: bool) -> Path:
    path = Layout(disk).parts / f"key.{size}"
    with path.open("wb") as file:
        if filled:
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
    return path


@pytest.mark.parametrize("filled", [True, False], ids=["fallocated", "sparse"])
async def test_a_promise_is_taken_from_the_free_space_once_from_beginning_to_end(
    disk: Path, pool: IoPool, filled: bool
) -> None:
    space = await on(disk, pool, Watermarks.unlimited())
    size = 20 * MIB
    left = space.usage().free_bytes - size
    with space.reserve(size, 0) as reservation:
        assert space.usage().free_bytes == left
        path = part(disk, size, filled=filled)
        with reservation.allocated(size) as file:
            await space.refresh()
            assert abs(space.usage().free_bytes - left) < SLACK
            path.write_bytes(b"x" * size)
            await space.refresh()
            assert abs(space.usage().free_bytes - left) < SLACK
            path.rename(Layout(disk).blobs / "sha256-x")
            file.commit()
        await space.refresh()
        assert abs(space.usage().free_bytes - left) < SLACK
    assert (space.usage().used_bytes, space.usage().reserved_bytes) == (size, 0)
    assert abs(space.usage().free_bytes - left) < SLACK


async def test_what_was_promised_can_be_written_to_the_last_byte(disk: Path, pool: IoPool) -> None:
    space = await on(disk, pool, Watermarks.unlimited(min_free_bytes=SLACK))
    wanted = [space.usage().free_bytes // 3 - SLACK] * 3
    promises = [space.reserve(size, 0) for size in wanted]
    with pytest.raises(NoSpace):
        space.reserve(4 * SLACK, 0)
    for number, (promise, size) in enumerate(zip(promises, wanted, strict=True)):
        with promise, (Layout(disk).blobs / f"sha256-{number}").open("wb") as file:
            file.write(b"x" * size)
            file.flush()
            os.fsync(file.fileno())
            promise.allocated(size).commit()
        await space.refresh()
        with pytest.raises(NoSpace):
            space.reserve(4 * SLACK, 0)


async def test_what_others_write_counts_from_the_next_look_on(disk: Path, pool: IoPool) -> None:
    space = await on(disk, pool, Watermarks(30 * MIB, 40 * MIB, 45 * MIB, 10 * MIB))
    assert space.pressure(30 * MIB) == 0
    (disk / "log-of-another-program").write_bytes(b"x" * (20 * MIB))
    assert space.pressure(30 * MIB) == 0
    await space.refresh()
    assert space.usage().used_bytes == 0
    assert space.pressure(30 * MIB) > 5 * MIB
    with pytest.raises(NoSpace) as refused:
        space.reserve(30 * MIB, 0)
    assert "min_free" in refused.value.hint
