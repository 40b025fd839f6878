"""The same work for many things, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def each(items: Iterable[T], work: Callable[[T], Awaitable[R]], at_once: int) -> list[R]:
    """Return `work(item)` for every item, in their order, `at_once` of them running at any time.

    The first failure cancels the rest, waits for its end and is raised as it came; a cancelled caller likewise leaves
    nothing running.
    """
    results: dict[int, R] = {}
    waiting = enumerate(items)

    async def worker() -> None:
        for index, item in waiting:
            results[index] = await work(item)

    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(worker())
    except BaseExceptionGroup as failures:
        failure = _first(failures)
    if failure is not None:  # outside of the handler: it keeps its own cause and gets no group as its context
        raise failure
    return [results[index] for index in sorted(results)]


def _first(failure: BaseException) -> BaseException:
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
