"""One piece of work in flight per key, shared by everyone who asks meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class _Flight(Generic[T]):
    def __init__(self, task: asyncio.Task[T]) -> None:
        self.task = task
        self.passengers = 0


class SingleFlight(Generic[K, T]):
    """Shares running work between callers; the work is cancelled when its last caller leaves.

    A newcomer never boards a flight that is being cancelled: it waits for its end and starts its own.
    """

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[T]] = {}

    async def do(self, key: K, work: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `work()`, or of the flight for `key` that is already under way."""
        while (flight := self._flights.get(key)) is not None and flight.task.cancelling():
            await asyncio.wait([flight.task])
        if flight is None:
            flight = _Flight(asyncio.create_task(self._fly(key, work), name=f"flight {key}"))
            self._flights[key] = flight
        return await self._board(flight)

    async def _fly(self, key: K, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await work()
        finally:
            del self._flights[key]

    async def _board(self, flight: _Flight[T]) -> T:
        flight.passengers += 1
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.passengers == 1 and not flight.task.done():
                flight.task.cancel()
                await asyncio.wait([flight.task])
            raise
        finally:
            flight.passengers -= 1

    def __len__(self) -> int:
        return len(self._flights)
