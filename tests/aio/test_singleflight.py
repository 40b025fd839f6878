"""One flight per key: shared by all callers, ended with the last, never boarded while it is being cancelled."""

from __future__ import annotations

import asyncio

import pytest

from cachemgr.aio.singleflight import SingleFlight


class Gate:
    """A call that reports it started and waits to be let through."""

    def __init__(self) -> None:
        self.calls, self.started, self.open = 0, asyncio.Event(), asyncio.Event()

    async def __call__(self) -> int:
        self.calls += 1
        self.started.set()
        await self.open.wait()
        return self.calls


async def test_callers_share_one_flight() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    gate = Gate()
    callers = [asyncio.create_task(flights.do("k", gate)) for _ in range(5)]
    await gate.started.wait()
    gate.open.set()
    assert await asyncio.gather(*callers) == [1] * 5
    assert len(flights) == 0


async def test_keys_do_not_wait_for_each_other() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    slow, quick = Gate(), Gate()
    quick.open.set()
    waiting = asyncio.create_task(flights.do("slow", slow))
    assert await flights.do("quick", quick) == 1
    slow.open.set()
    assert await waiting == 1


async def test_a_caller_that_leaves_does_not_end_the_flight_of_the_others() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    gate = Gate()
    leaver = asyncio.create_task(flights.do("k", gate))
    stayer = asyncio.create_task(flights.do("k", gate))
    await gate.started.wait()
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    gate.open.set()
    assert await stayer == 1


async def test_the_last_caller_to_leave_ends_it_and_waits_for_its_end() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    ended = asyncio.Event()
    gate = Gate()

    async def work() -> int:
        try:
            return await gate()
        finally:
            ended.set()

    caller = asyncio.create_task(flights.do("k", work))
    await gate.started.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()
    assert len(flights) == 0


async def test_a_newcomer_never_boards_a_cancelled_flight() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    cleaning, clean = asyncio.Event(), asyncio.Event()
    gate = Gate()

    async def stubborn() -> int:
        try:
            return await gate()
        except asyncio.CancelledError:
            cleaning.set()
            await clean.wait()
            raise

    first = asyncio.create_task(flights.do("k", stubborn))
    await gate.started.wait()
    first.cancel()
    await cleaning.wait()
    fresh = Gate()
    fresh.open.set()
    newcomer = asyncio.create_task(flights.do("k", fresh))
    await asyncio.sleep(0)
    assert fresh.calls == 0
    clean.set()
    assert await newcomer == 1


async def test_everyone_gets_the_error_and_the_next_caller_a_new_try() -> None:
    flights: SingleFlight[str, int] = SingleFlight()

    async def fails() -> int:
        await asyncio.sleep(0)
        raise ValueError("no")

    results = await asyncio.gather(*(flights.do("k", fails) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [ValueError] * 3
    gate = Gate()
    gate.open.set()
    assert await flights.do("k", gate) == 1
