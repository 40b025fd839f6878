"""A bounded thread pool whose callers never walk away from a running thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class IoPool:
    """Runs blocking calls off the event loop, at most `threads` at a time."""

    def __init__(self, threads: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `call(*args, **kwargs)`.

        A cancelled caller first waits for its thread, which may still use what the caller is about to close; then
        the cancellation goes on. A call that has not begun is dropped.
        """
        future = self._executor.submit(partial(call, *args, **kwargs))
        waiter = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiter)
        except asyncio.CancelledError:
            if not future.cancel():
                await until_done(waiter)
            raise

    async def finish(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`run` for clearing up: the call is made even if its caller is cancelled meanwhile."""
        waiter = asyncio.wrap_future(self._executor.submit(partial(call, *args, **kwargs)))
        try:
            return await asyncio.shield(waiter)
        except asyncio.CancelledError:
            await until_done(waiter)
            raise

    def close(self) -> None:
        """Wait for running calls and drop the rest."""
        self._executor.shutdown(wait=True, cancel_futures=True)


async def until_done(waiter: asyncio.Future[T]) -> None:
    """Wait for the end of work that was given up, whatever it ends with; cancellations do not interrupt this."""
    while not waiter.done():
        try:
            await asyncio.wait([waiter])
        except asyncio.CancelledError:
            continue
    if not waiter.cancelled():
        waiter.exception()
