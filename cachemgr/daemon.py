"""The life of the process: start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from cachemgr.domain.errors import CachemgrError
from cachemgr.settings import Settings
from cachemgr.tiers.holds_volume import FileHolds
from cachemgr.wiring import Floor, House, open_house

log = logging.getLogger(__name__)

SWEEP_SECONDS = 60.0
TICK_SECONDS = 1.0


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
                tasks.create_task(_keep(house), name="keeper"),
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
    await house.pool.run(_announce, settings.api.socket, house)
    house.metrics.up.set(1)


async def _drain(house: House, grace_seconds: float) -> None:
    """No new work; what runs is cancelled, since all of it resumes; holds end with the daemon."""
    house.metrics.up.set(0)
    await house.api.close(min(grace_seconds, 0.5))
    await house.transfers.close()
    house.holding.close()
    for floor in house.floors:
        if isinstance(floor.holds, FileHolds):
            await floor.holds.close()
    if house.admin is not None:
        await house.admin.close()


async def _keep(house: House) -> None:
    """What has to be done now and then: end holds that ran out, look at the directories, clear what is left over."""
    loop = asyncio.get_running_loop()
    swept_at = loop.time()
    while True:
        await asyncio.sleep(TICK_SECONDS)
        house.holding.expire()
        if loop.time() - swept_at >= SWEEP_SECONDS:
            swept_at = loop.time()
            for floor in house.floors:
                await _sweep(floor)


async def _sweep(floor: Floor) -> None:
    try:
        await floor.tier.sweep(floor.holds.exclusive)
        await floor.shelf.load()
    except (CachemgrError, OSError) as error:
        # The tier may be back for the next round; until then its last known state serves.
        log.warning("tier could not be swept", extra={"tier": floor.tier.name, "error": str(error)})


def _announce(socket: Path, house: House) -> None:
    """Tell clients on this host where the tiers are, so that a hit needs no word with the daemon; blocks."""
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
    scratch.write_text(text)
    os.replace(scratch, path)


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
    except BaseExceptionGroup as group:
        raise _first(group) from group


class Background:
    """A daemon in a thread of this process, for a command where none runs; left with the command."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="cachemgr", daemon=True)

    def __enter__(self) -> Background:
        """Start it and wait until it serves; raises what kept it from serving."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Ask it to stop and wait for its end."""
        if self._loop is not None and not self._loop.is_closed():
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
        await serve(self._settings, self._stopping, self._ready.set)


def _first(error: BaseException) -> BaseException:
    """The error of ours in what a task group raised, else the first one."""
    if isinstance(error, BaseExceptionGroup):
        ours = error.subgroup(CachemgrError)
        return _first((ours or error).exceptions[0])
    return error
