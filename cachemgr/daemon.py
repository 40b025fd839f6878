"""The life of the process: start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType

import aiofiles
import aiofiles.os

from cachemgr.domain.errors import CachemgrError
from cachemgr.settings import Settings
from cachemgr.wiring import Floor, House, open_house

log = logging.getLogger(__name__)

SWEEP_SECONDS = 60.0
TICK_SECONDS = 1.0
CLOSE_SECONDS = 0.5
"""How long requests may take once the doors close."""


async def serve(settings: Settings, stopping: asyncio.Event, ready: Callable[[], None]) -> None:
    """Run the daemon until `stopping` is set, then drain within `daemon.grace`; `ready` is called once it serves.

    Raises Held if another daemon works here already, Usage and TierUnavailable for what cannot be used.
    """
    async with asyncio.TaskGroup() as tasks, open_house(settings, tasks) as house:
        try:
            await _open_doors(house, settings)
            log.info("serving", extra={"socket": str(settings.api.socket), "worker": house.worker})
            ready()
            services = [
                tasks.create_task(house.wanted.run(), name="configured models"),
                tasks.create_task(_expire(house), name="holds that run out"),
                *(tasks.create_task(_sweep(floor), name=f"sweep {floor.tier.name}") for floor in house.floors),
            ]
            await stopping.wait()
            log.info("stopping", extra={"grace_seconds": settings.daemon.grace})
            for service in services:
                service.cancel()
        finally:
            await _drain(house, settings.daemon.grace)
    log.info("stopped")


async def _open_doors(house: House, settings: Settings) -> None:
    await house.api.start()
    if house.admin is not None:
        await house.admin.start()
    await _announce(settings.api.socket, house)
    house.metrics.up.set(1)


async def _drain(house: House, grace_seconds: float) -> None:
    """No new work; a push has its grace, what else runs is cancelled, since it resumes; holds end with the daemon.

    A cancellation (a second signal) ends the grace; everything is closed all the same, the doors first.
    """
    house.metrics.up.set(0)
    async with AsyncExitStack() as stack:
        if house.admin is not None:
            stack.push_async_callback(house.admin.close)
        for floor in house.floors:
            stack.push_async_callback(floor.holds.close)
        stack.callback(house.holding.close)
        stack.push_async_callback(house.transfers.close)
        stack.push_async_callback(house.api.close, min(grace_seconds, CLOSE_SECONDS))
        # Those who follow a push are told how it ended: the API closes after it.
        await house.transfers.drain("checkpoint_push", grace_seconds)


async def _expire(house: House) -> None:
    """End holds that ran out."""
    while True:
        await asyncio.sleep(TICK_SECONDS)
        house.holding.expire()


async def _sweep(floor: Floor) -> None:
    """Look at a tier's directories now and then, and clear what is left over; each tier on its own, since one can hang.

    Whatever goes wrong there, the daemon goes on: until the next round the last known state serves.
    """
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        try:
            await floor.tier.sweep(floor.holds.exclusive)
            await floor.shelf.load()
        except (CachemgrError, OSError) as error:
            log.warning("tier could not be swept", extra={"tier": floor.tier.name, "error": str(error)})
        except Exception:  # a fault of ours in a side job must not end readers' holds and running pulls
            log.exception("tier could not be swept", extra={"tier": floor.tier.name})


async def _announce(socket: Path, house: House) -> None:
    """Tell clients on this host where the tiers are, so that a hit needs no word with the daemon."""
    tiers = [
        {
            "name": floor.tier.name,
            "root": str(floor.tier.root),
            "hub": str(floor.tier.layout.hub),
            "local": floor.tier.local,
            "holds": "flock" if floor.tier.local and floor.tier.writable else "api",
        }
        for floor in house.floors
    ]
    text = json.dumps({"version": 1, "socket": str(socket), "pid": os.getpid(), "tiers": tiers})
    path, scratch = socket.with_name("client.json"), socket.with_name(f".client.json.{os.getpid()}")
    with suppress(FileNotFoundError):
        await aiofiles.os.unlink(scratch)  # of a process that had our number and died
    async with aiofiles.open(scratch, "x", opener=_privately) as stream:
        await stream.write(text)
    await aiofiles.os.replace(scratch, path)


def _privately(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def serve_until_signalled(settings: Settings) -> None:
    """`cachemgr serve`: the first SIGTERM or SIGINT asks the daemon to stop, the second one insists."""
    asyncio.run(_serve_until_signalled(settings))


async def _serve_until_signalled(settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def stop() -> None:
        if stopping.is_set() and task is not None:
            task.cancel()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await serve(settings, stopping, ready=lambda: None)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None  # somebody insisted: not the end that was asked for
    except BaseExceptionGroup as group:
        raise _first(group) from group


class Background:
    """A daemon in a thread of this process, for a command where none runs; left with the command."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._asked = threading.Event()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="cachemgr", daemon=True)

    def __enter__(self) -> Background:
        """Start it and wait until it serves; raises what kept it from serving."""
        self._thread.start()
        try:
            self._ready.wait()
        except BaseException:
            self._end()  # interrupted: what is half started must not stay
            raise
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Ask it to stop and wait for its end."""
        self._end()

    def _end(self) -> None:
        # First the flag, then a look for the loop; the thread does it the other way round: one of them sees the other.
        self._asked.set()
        with suppress(RuntimeError):  # its loop is closed: it has ended
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # whatever it is, the thread that waits must hear of it
            self._failure = _first(error)
            log.debug("the daemon ended", exc_info=True)
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._asked.is_set():
            self._stopping.set()
        await serve(self._settings, self._stopping, self._ready.set)


def _first(error: BaseException) -> BaseException:
    """The error of ours in what a task group raised, else the first one."""
    if isinstance(error, BaseExceptionGroup):
        ours = error.subgroup(CachemgrError)
        return _first((ours or error).exceptions[0])
    return error
