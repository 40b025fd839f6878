"""The fixture that is always on sees what it is there for, and blames nobody else."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.loopwatch import BLOCKED_SECONDS, LoopWatch

LONG = BLOCKED_SECONDS * 3
HOME = "/somewhere/cachemgr/"

CODE = """
async def sleeps(): blocked(seconds)
async def burns(): burn(seconds)
async def deeper(): await sleeps()
def plain(): blocked(seconds)
async def short(): blocked(0.01)
"""


@pytest.fixture
def watch() -> Iterator[LoopWatch]:
    watch = LoopWatch(home=HOME)
    watch.start()
    yield watch
    watch.stop()


def burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def _functions() -> dict[str, Callable[[], Awaitable[None]]]:
    scope: dict[str, Any] = {"blocked": time.sleep, "burn": burn, "seconds": LONG}  # Any: what exec fills
    exec(compile(CODE, HOME + "code.py", "exec"), scope)
    return scope


@pytest.mark.parametrize("name", ["sleeps", "burns", "deeper"])
async def test_a_coroutine_of_ours_that_blocks_is_seen(watch: LoopWatch, name: str) -> None:
    await _functions()[name]()
    assert len(watch.blocks) == 1
    assert "code.py" in watch.blocks[0]


async def test_a_callback_of_ours_that_blocks_is_seen(watch: LoopWatch) -> None:
    asyncio.get_running_loop().call_soon(_functions()["plain"])
    await asyncio.sleep(0.01)
    assert len(watch.blocks) == 1


async def test_a_test_that_blocks_by_itself_is_not_blamed_on_us(watch: LoopWatch) -> None:
    time.sleep(LONG)  # noqa: ASYNC251  # what the test is about
    _functions()["plain"]()
    assert watch.blocks == []


async def test_short_turns_in_a_row_are_no_block(watch: LoopWatch) -> None:
    short = _functions()["short"]
    for _ in range(40):
        await short()
        await asyncio.sleep(0)
    assert watch.blocks == []


def test_a_thread_of_ours_may_block(watch: LoopWatch) -> None:
    thread = threading.Thread(target=_functions()["plain"])
    thread.start()
    thread.join()
    assert watch.blocks == []
