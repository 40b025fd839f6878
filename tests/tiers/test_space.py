"""A tier's budget: promises before bytes, refusals with numbers, and no file system that can stop the event loop."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cachemgr.aio.iopool import IoPool
from cachemgr.domain.errors import NoSpace, TierUnavailable
from cachemgr.domain.marks import Watermarks
from cachemgr.tiers.layout import Layout
from cachemgr.tiers.space import Space

MARKS = Watermarks(low_bytes=700, high_bytes=800, hard_bytes=900, min_free_bytes=0)


class Measured:
    """What the tier holds, as a test says it."""

    def __init__(self, stored_bytes: int = 0) -> None:
        self.stored_bytes = stored_bytes
        self.calls = 0
        self.started = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self) -> int:
        self.calls += 1
        self.started.set()
        await self.open.wait()
        return self.stored_bytes


@pytest.fixture
async def pool() -> AsyncIterator[IoPool]:
    pool = IoPool(2, "space")
    yield pool
    pool.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Layout(tmp_path).parts.mkdir(parents=True)
    return tmp_path


async def measured(root: Path, pool: IoPool, marks: Watermarks, stored_bytes: int) -> Space:
    space = Space("disk", root, marks, Measured(stored_bytes), pool)
    await space.refresh()
    return space


async def test_a_promise_fills_the_tier_up_to_hard_and_not_further(root: Path, pool: IoPool) -> None:
    space = await measured(root, pool, MARKS, 500)
    with space.reserve(300, 0), space.reserve(100, 0):
        with pytest.raises(NoSpace) as refused:
            space.reserve(1, 450)
        assert refused.value.fields == {
            "needed_bytes": 1,
            "free_bytes": 0,
            "evictable_bytes": 450,
            "tier": "disk",
        }
        assert "disk.hard" in refused.value.hint
        space.reserve(0, 0).release()
    with space.reserve(400, 0):
        assert space.usage().reserved_bytes == 400
    assert space.usage().reserved_bytes == 0


async def test_what_is_too_large_for_the_whole_tier_is_told_so(root: Path, pool: IoPool) -> None:
    space = await measured(root, pool, MARKS, 0)
    with pytest.raises(NoSpace) as refused:
        space.reserve(901, 0)
    assert "larger than the whole tier" in refused.value.hint
    assert refused.value.fields["free_bytes"] == 900


async def test_the_file_system_refuses_where_there_are_no_marks(root: Path, pool: IoPool) -> None:
    space = await measured(root, pool, Watermarks.unlimited(), 10**15)
    free = space.usage().free_bytes
    assert space.usage().total_bytes >= free > 0
    assert space.pressure(1000) == space.above_low() == 0
    with space.reserve(free // 2, 0):
        assert space.usage().free_bytes == free - free // 2
        with pytest.raises(NoSpace) as refused:
            space.reserve(free, 0)
    assert "file system" in refused.value.hint
    assert refused.value.fields["free_bytes"] == free - free // 2


async def test_min_free_is_left_to_others(root: Path, pool: IoPool) -> None:
    probe = await measured(root, pool, Watermarks.unlimited(), 0)
    keep = probe.usage().free_bytes + 2**40
    space = await measured(root, pool, Watermarks.unlimited(keep), 0)
    assert space.pressure(0) > 2**39
    assert space.above_low() > 2**39
    with pytest.raises(NoSpace) as refused:
        space.reserve(1, 0)
    assert refused.value.fields["free_bytes"] == 0
    assert "min_free" in refused.value.hint


async def test_pressure_counts_promises_and_ends_with_what_is_freed(root: Path, pool: IoPool) -> None:
    space = await measured(root, pool, MARKS, 500)
    assert space.pressure(300) == 0
    assert space.pressure(301) == 101
    with space.reserve(200, 0):
        assert space.pressure(150) == 150
        assert space.shortfall(150) == 0
        assert space.shortfall(250) == 50
        space.freed(150)
        assert space.pressure(150) == 0
    assert space.usage().used_bytes == 350
    assert space.above_low() == 0


async def test_nothing_is_promised_of_what_was_never_measured(root: Path, pool: IoPool) -> None:
    space = Space("disk", root, MARKS, Measured(), pool)
    for ask in (space.pressure, space.shortfall):
        with pytest.raises(TierUnavailable):
            ask(1)
    with pytest.raises(TierUnavailable):
        space.reserve(1, 0)
    assert space.usage().used_bytes == 0


async def test_a_tier_that_cannot_be_measured_is_unavailable_and_its_promises_stand(root: Path, pool: IoPool) -> None:
    async def failing() -> int:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(TierUnavailable, match="Input/output error"):
        await Space("disk", root, MARKS, failing, pool).refresh()
    with pytest.raises(TierUnavailable, match="No such file"):
        await Space("disk", root / "gone", MARKS, Measured(), pool).refresh()


async def test_a_measurement_is_repeated_if_something_was_removed_under_it(root: Path, pool: IoPool) -> None:
    measure = Measured(500)
    space = Space("disk", root, MARKS, measure, pool)
    await space.refresh()
    measure.open.clear()
    measure.started.clear()
    refreshing = asyncio.create_task(space.refresh())
    await measure.started.wait()
    space.freed(200)  # was it seen by the measurement, or not?
    measure.stored_bytes = 300
    measure.open.set()
    await refreshing
    assert measure.calls == 3
    assert space.usage().used_bytes == 300


async def test_a_measurement_goes_on_while_promises_are_made(root: Path, pool: IoPool) -> None:
    measure = Measured(500)
    space = Space("disk", root, MARKS, measure, pool)
    await space.refresh()
    measure.open.clear()
    measure.started.clear()
    refreshing = asyncio.create_task(space.refresh())
    await measure.started.wait()
    with space.reserve(300, 0), pytest.raises(NoSpace):
        space.reserve(200, 0)
    reservation = space.reserve(250, 0)
    measure.open.set()
    await refreshing
    assert (space.usage().used_bytes, space.usage().reserved_bytes) == (500, 250)
    reservation.release()


async def test_partial_files_keep_the_room_that_they_will_take(root: Path, pool: IoPool) -> None:
    space = await measured(root, pool, Watermarks.unlimited(), 0)
    before = space.usage().free_bytes
    size = before // 2
    part = Layout(root).parts / "key.1"
    part.touch()
    os.truncate(part, size)
    if part.stat().st_blocks * 512 >= size:
        pytest.skip("this file system says that a file without data has all its blocks")
    with space.reserve(size, 0) as reservation, reservation.allocated(size):
        await space.refresh()
        # Others use this file system, too; what matters is that the half is not taken twice, and not forgotten.
        assert abs(space.usage().free_bytes - (before - size)) < before // 4
    part.unlink()


async def test_a_file_system_that_hangs_stops_nobody_who_does_not_ask_it(root: Path, pool: IoPool) -> None:
    measure = Measured(500)
    space = Space("volume", root, MARKS, measure, pool)
    await space.refresh()
    measure.open.clear()
    refreshing = [asyncio.create_task(space.refresh()) for _ in range(3)]
    await asyncio.sleep(0)
    began = time.monotonic()
    with space.reserve(100, 0):
        assert space.usage().reserved_bytes == 100
        assert space.pressure(300) == 200
    refreshing[2].cancel()
    await asyncio.wait([refreshing[2]])
    assert time.monotonic() - began < 1
    measure.open.set()
    await asyncio.gather(*refreshing[:2])
