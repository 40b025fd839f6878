"""Cleaning up is finished in spite of cancellations, bounded, and never replaces what is on its way."""

from __future__ import annotations

import asyncio
import logging

import pytest

from cachemgr.aio.lastly import lastly
from cachemgr.domain.errors import NotFound


async def test_a_cancellation_waits_for_it_and_goes_on() -> None:
    started, finish, done = asyncio.Event(), asyncio.Event(), False

    async def work() -> None:
        nonlocal done
        started.set()
        await finish.wait()
        done = True

    task = asyncio.create_task(lastly(work(), "tidying", 5))
    await started.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    finish.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done


async def test_it_does_not_take_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        await lastly(asyncio.Event().wait(), "tidying", 0.01)
    assert "too long" in caplog.text


async def test_an_error_of_ours_is_said_and_swallowed_another_is_not(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(error: Exception) -> None:
        raise error

    await lastly(fail(NotFound("gone")), "tidying", 5)
    assert "cleaning up failed" in caplog.text
    with pytest.raises(ValueError, match="bug"):
        await lastly(fail(ValueError("bug")), "tidying", 5)
