"""What all movements share: threads, buffers, connections, and how many of them one origin sees at a time."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from cachemgr.aio.iopool import until_done
from cachemgr.moving.patience import Patience
from cachemgr.moving.slots import Slots
from cachemgr.moving.stop import Stop, Stopped
from cachemgr.moving.system import be_nice
from cachemgr.moving.wires import Origin, Wires

T = TypeVar("T")

RANGE = 8 << 20
"""How much of a large file one request asks for, and the size of a buffer."""

_MOVEMENTS = 32
_HELPERS = 64
_LOOK_AGAIN_SECONDS = 0.2
_IDLE_SECONDS = 15.0


class Crew:
    """The data plane's threads: one for each movement, and helpers that receive or write for one of them.

    A helper never waits for another helper's turn, and a movement never for another movement, so the two kinds
    cannot block each other.
    """

    def __init__(self) -> None:
        self._movements = ThreadPoolExecutor(_MOVEMENTS, "cachemgr-move", initializer=be_nice)
        self._helpers = ThreadPoolExecutor(_HELPERS, "cachemgr-data", initializer=be_nice)
        self._stops: set[Stop] = set()

    async def run(self, movement: Callable[[Stop], T]) -> T:
        """Return what `movement` returns.

        A cancelled caller has the threads stop at their next buffer and waits for them: nothing is written any more
        when the cancellation goes on. Closing cancels what still moves.
        """
        stop = Stop()
        future = self._movements.submit(movement, stop)
        waiter = asyncio.wrap_future(future)
        self._stops.add(stop)
        try:
            return await asyncio.shield(waiter)
        except Stopped:
            raise asyncio.CancelledError("the data plane was closed") from None
        except asyncio.CancelledError:
            stop.set()
            if not future.cancel():
                await until_done(waiter)
            raise
        finally:
            self._stops.discard(stop)

    def help(self, work: Callable[[], None]) -> Future[None]:
        """Run `work` on a helper's thread."""
        return self._helpers.submit(work)

    @property
    def idle(self) -> bool:
        """True if nothing is moving."""
        return not self._stops

    def close(self) -> None:
        """Stop all movements and wait for their threads."""
        for stop in list(self._stops):
            stop.set()
        self._movements.shutdown(wait=True, cancel_futures=True)
        self._helpers.shutdown(wait=True, cancel_futures=True)


class Turns:
    """At most `limit` connections at a time to each origin, over all movements."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._free: defaultdict[Origin, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(limit))

    @contextlib.contextmanager
    def one(self, origin: Origin, stop: Stop) -> Iterator[None]:
        """Wait for a turn and have it inside this block; raises Stopped."""
        with self._lock:
            free = self._free[origin]
        while not free.acquire(timeout=_LOOK_AGAIN_SECONDS):
            stop.check()
        try:
            stop.check()
            yield
        finally:
            free.release()


class Gear:
    """The shared parts together."""

    def __init__(self, connections: int, window_bytes: int, one_request_bytes: int, patience: Patience) -> None:
        self.one_request_bytes = one_request_bytes
        self.patience = patience
        self.crew = Crew()
        self.slots = Slots(RANGE, max(1, window_bytes // RANGE))
        self.wires = Wires(connections, patience)
        self.turns = Turns(connections)
        self._tidying: asyncio.TimerHandle | None = None

    async def run(self, movement: Callable[[Stop], T]) -> T:
        """Run `movement` on a thread of the crew; see Crew.run."""
        try:
            return await self.crew.run(movement)
        finally:
            if self.crew.idle:
                self._tidy_later()

    def _tidy_later(self) -> None:
        # Idle connections are worth keeping from one file to the next, not for the life of a daemon.
        if self._tidying is not None:
            self._tidying.cancel()
        self._tidying = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._tidy)

    def _tidy(self) -> None:
        if self.crew.idle:
            self.wires.clear()

    def close(self) -> None:
        """Stop all movements, wait for their threads, close all connections."""
        if self._tidying is not None:
            self._tidying.cancel()
        self.crew.close()
        self.wires.clear()
