"""Many pieces of work, a few at a time: in order, bounded, and none left behind."""

from __future__ import annotations

import asyncio

import pytest

from cachemgr.aio.crowd import each
from cachemgr.domain.errors import NotFound


async def test_results_come_in_the_order_of_the_items() -> None:
    async def work(item: int) -> int:
        await asyncio.sleep((5 - item) / 1000)
        return item * 10

    assert await each(range(5), work, at_once=3) == [0, 10, 20, 30, 40]


async def test_never_more_than_that_many_run() -> None:
    running = most = 0

    async def work(_: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await each(range(50), work, at_once=4)
    assert most == 4


async def test_the_first_failure_stops_the_rest_and_keeps_its_cause() -> None:
    ended: list[int] = []

    async def work(item: int) -> None:
        if item == 0:
            raise NotFound("no") from ValueError("why")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(item)

    with pytest.raises(NotFound) as caught:
        await each(range(9), work, at_once=3)
    assert isinstance(caught.value.__cause__, ValueError)
    assert sorted(ended) == [1, 2]


async def test_a_cancelled_caller_leaves_nothing_running() -> None:
    started, ended = asyncio.Event(), 0

    async def work(_: int) -> None:
        nonlocal ended
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended += 1

    task = asyncio.create_task(each(range(9), work, at_once=3))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == 3
