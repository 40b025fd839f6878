"""Asking again happens where the error says so, and nowhere else."""

from __future__ import annotations

import asyncio

import pytest

from cachemgr.aio.retry import Retry
from cachemgr.domain.errors import CachemgrError, NotFound, OriginUnavailable


class Work:
    """Fails with these errors, one after the other, then answers."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = [*errors]
        self.calls = 0

    async def __call__(self) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.calls


QUICK = Retry(3, first_pause_seconds=0.001, longest_pause_seconds=0.01)


async def test_an_error_that_may_pass_is_tried_again() -> None:
    work = Work(OriginUnavailable("away"), OriginUnavailable("away"))
    assert await QUICK(work) == 3


async def test_the_last_error_is_raised_as_it_came() -> None:
    last = OriginUnavailable("away", retry_after_seconds=0)
    with pytest.raises(OriginUnavailable) as caught:
        await QUICK(Work(OriginUnavailable("1"), OriginUnavailable("2"), last))
    assert caught.value is last


@pytest.mark.parametrize("error", [NotFound("no"), CachemgrError("bug"), ValueError("bug"), asyncio.CancelledError()])
async def test_any_other_error_is_raised_at_once(error: BaseException) -> None:
    work = Work(error)
    with pytest.raises(type(error)):
        await QUICK(work)
    assert work.calls == 1


async def test_a_pause_that_was_asked_for_is_bounded() -> None:
    work = Work(OriginUnavailable("slow down", retry_after_seconds=3600))
    async with asyncio.timeout(5):
        assert await QUICK(work) == 2
