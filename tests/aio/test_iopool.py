"""The pool runs blocking calls elsewhere, and nobody walks away from a running one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from cachemgr.aio.iopool import IoPool


@pytest.fixture
def pool() -> Iterator[IoPool]:
    it = IoPool(2, "test")
    yield it
    it.close()


async def test_results_and_errors_come_back(pool: IoPool) -> None:
    assert await pool.run(divmod, 7, 3) == (2, 1)
    with pytest.raises(ZeroDivisionError):
        await pool.run(divmod, 1, 0)


async def test_a_cancelled_caller_waits_for_its_thread(pool: IoPool) -> None:
    started, release, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        release.wait()
        ended.set()

    caller = asyncio.create_task(pool.run(work))
    await asyncio.to_thread(started.wait)
    caller.cancel()
    await asyncio.sleep(0.01)
    caller.cancel()
    await asyncio.sleep(0.01)
    assert not caller.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()


async def test_a_call_that_has_not_begun_is_dropped_with_its_caller(pool: IoPool) -> None:
    release = threading.Event()
    blockers = [asyncio.create_task(pool.run(release.wait)) for _ in range(2)]
    await asyncio.sleep(0.01)
    ran: list[int] = []
    late = asyncio.create_task(pool.run(ran.append, 1))
    await asyncio.sleep(0.01)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    release.set()
    await asyncio.gather(*blockers)
    assert ran == []


async def test_clearing_up_is_done_even_if_its_caller_is_cancelled_before_it_begins(pool: IoPool) -> None:
    release = threading.Event()
    blockers = [asyncio.create_task(pool.run(release.wait)) for _ in range(2)]
    await asyncio.sleep(0.01)
    ran: list[int] = []
    late = asyncio.create_task(pool.finish(ran.append, 1))
    await asyncio.sleep(0.01)
    late.cancel()
    await asyncio.sleep(0.01)
    assert not late.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await late
    await asyncio.gather(*blockers)
    assert ran == [1]
