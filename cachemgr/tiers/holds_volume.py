"""Holds on a shared volume, where no lock may be trusted: one file per reader, one per remover, looked at crosswise."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from cachemgr.aio.iopool import IoPool
from cachemgr.tiers.holds import PATIENCE_SECONDS, Hold, Patience, hold_path, told
from cachemgr.tiers.layout import Layout
from cachemgr.tiers.owner import Owner

log = logging.getLogger(__name__)

SETTLE_SECONDS = 1.5
"""More than twice what a new file, and longer than a removed one, takes to be known on another host."""


class FileHolds:
    """`holds/<id>/<owner>-<nonce>` per reader, `removing/<id>/<owner>-<nonce>` per remover.

    A reader writes its file and then looks for removers and at the seal; a remover writes its file, waits, looks for
    readers and other removers, removes, and lets its file stay until every host knows that the seal is gone. Whoever
    comes second sees the first, and two removers that come together both give way. A file whose process has certainly
    ended counts for nothing; what is uncertain counts as alive. Every name is used once, so that clearing away a dead
    one cannot hit a living one. The directories stay: another host may have remembered which one a name leads to.
    Errors of the file system are TierUnavailable.
    """

    def __init__(
        self,
        layout: Layout,
        pool: IoPool,
        settle_seconds: float = SETTLE_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._holds = layout.holds
        self._removing = layout.removing
        self._pool = pool
        self._settle_seconds = settle_seconds
        self._patience_seconds = patience_seconds
        self._mine: set[Path] = set()
        self._ended: set[Path] = set()
        self._lingering: set[Path] = set()
        self._clearing: asyncio.Task[None] | None = None

    async def take(self, id: str) -> Hold:
        """Share the snapshot; waits while it is being removed. Raises Held if that takes too long, Usage."""
        path = _new_name(self._holds, id)
        self._mine.add(path)
        try:
            with told(id):
                await self._pool.run(_create, path)
                patience = Patience(id, self._patience_seconds)
                while await self._pool.run(_is_being_removed, self._removing, id):
                    await patience.pause()
        except BaseException:
            self._end(path)
            raise
        return Hold(id, lambda: self._end(path))

    @asynccontextmanager
    async def exclusive(self, id: str) -> AsyncIterator[bool]:
        """Inside, nobody holds it and nobody can; or, if it yields False, somebody does. Waits for no reader."""
        path = _new_name(self._removing, id)
        with told(id):
            await self._clear()
            alone = not await self._pool.run(_living, hold_path(self._holds, id))
        if not alone:
            yield False
            return
        self._mine.add(path)
        alone = False
        try:
            with told(id):
                await self._pool.run(_create, path)
                await asyncio.sleep(self._settle_seconds)
                served = frozenset(mark.name for mark in self._lingering | self._ended)
                alone = await self._pool.run(self._is_alone, id, path, served)
            if not alone:
                self._ended.add(path)  # before the caller goes on: readers must not wait for it
                await self._clear()
            yield alone
        finally:
            if alone:
                self._lingering.add(path)
                asyncio.get_running_loop().call_later(self._settle_seconds, self._end, path)
            else:
                self._end(path)

    async def held(self) -> frozenset[str]:
        """The ids that some process, on any host and this one included, holds as far as anybody can tell."""
        await self._clear()
        return await self._pool.run(self._held)

    async def close(self) -> None:
        """Give everything back that this object still has; before the pool is closed, and on a volume that answers."""
        if self._lingering:
            await asyncio.sleep(self._settle_seconds)
        self._ended |= self._mine
        await self._clear()

    def _is_alone(self, id: str, mine: Path, served: frozenset[str]) -> bool:
        # Made here and not only looked for: a client may remember for a while that a name was not there.
        directory = hold_path(self._holds, id)
        directory.mkdir(exist_ok=True)
        return not _living(directory) and _living(mine.parent) - served == {mine.name}

    def _held(self) -> frozenset[str]:
        return frozenset(name for name in _names(self._holds) if _living(self._holds / name))

    def _end(self, path: Path) -> None:
        """The file has served. It goes off the event loop, which a hung volume must not stop."""
        self._ended.add(path)
        self._lingering.discard(path)
        if self._clearing is None or self._clearing.done():
            self._clearing = asyncio.get_running_loop().create_task(self._clear(), name="ended holds")

    async def _clear(self) -> None:
        """Unlink what has ended; what cannot be unlinked now is tried again the next time."""
        while self._ended:
            paths = [*self._ended]
            left = await self._pool.run(_unlink_all, paths)
            self._ended.difference_update(paths)
            self._mine.difference_update(set(paths) - set(left))
            if left:
                self._ended.update(left)
                log.warning("holds could not be given back", extra={"files": len(left)})
                return


def _new_name(directory: Path, id: str) -> Path:
    return hold_path(directory, id) / Owner.current().unique_name()


def _create(path: Path) -> None:
    try:
        _create_file(path)
    except FileNotFoundError:
        path.parent.mkdir(exist_ok=True)
        _create_file(path)


def _create_file(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))


def _is_being_removed(removing: Path, id: str) -> bool:
    # The listing is fresh where a look at the name may be answered from what this host remembers.
    return id in _names(removing) and bool(_living(removing / id))


def _living(directory: Path) -> frozenset[str]:
    """The files here whose process may still be alive; the others are cleared away."""
    return frozenset(name for name in _names(directory) if not _has_ended(directory / name))


def _has_ended(path: Path) -> bool:
    owner = Owner.parse(path.name)
    if owner is None or not owner.has_ended():
        return False
    with suppress(OSError):
        os.unlink(path)
    return True


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _unlink_all(paths: list[Path]) -> list[Path]:
    """Unlink each; return those that could not be."""
    return [path for path in paths if not _unlinked(path)]


def _unlinked(path: Path) -> bool:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
