"""Holds: who reads which snapshot. On a local file system a kernel lock, which ends with its process."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from cachemgr.aio.iopool import IoPool
from cachemgr.domain.errors import Held, TierUnavailable, Usage
from cachemgr.domain.names import COMPONENT_BYTES
from cachemgr.tiers.layout import Layout

PATIENCE_SECONDS = 30.0
_POLL_SECONDS = 0.002
_LONGEST_POLL_SECONDS = 0.05


class Hold:
    """A reader's protection of one snapshot, until `release` or the end of the process; releasing twice is harmless."""

    def __init__(self, id: str, end: Callable[[], None]) -> None:
        self.id = id
        self._end: Callable[[], None] | None = end

    def release(self) -> None:
        """Give it back. Never blocks and never raises."""
        end, self._end = self._end, None
        if end is not None:
            end()

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


class FlockHolds:
    """`holds/<id>`: readers share its lock, a remover has it alone and takes the file away under it.

    Whoever locked it looks whether the name still leads to that file: a lock on one that was removed meanwhile holds
    nothing. A reader takes the hold first and looks at the seal then. Errors of the file system are TierUnavailable.
    """

    def __init__(self, layout: Layout, pool: IoPool, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._directory = layout.holds
        self._pool = pool
        self._patience_seconds = patience_seconds

    async def take(self, id: str) -> Hold:
        """Share the snapshot; waits while it is being removed. Raises Held if that takes too long, Usage."""
        lock = _Lock(hold_path(self._directory, id))
        try:
            with told(id):
                patience = Patience(id, self._patience_seconds)
                # Never a blocking flock: its thread could be the one that the remover waits for.
                while not await self._pool.run(lock.acquire, fcntl.LOCK_SH):
                    await patience.pause()
        except BaseException:
            lock.close()
            raise
        return Hold(id, lock.close)

    @asynccontextmanager
    async def exclusive(self, id: str) -> AsyncIterator[bool]:
        """Inside, nobody holds it and nobody can; or, if it yields False, somebody does. Never waits for readers."""
        lock = _Lock(hold_path(self._directory, id))
        try:
            with told(id):
                alone = await self._pool.run(lock.acquire, fcntl.LOCK_EX)
                if not alone:
                    await asyncio.sleep(_POLL_SECONDS)  # it may only have been `held`, looking
                    alone = await self._pool.run(lock.acquire, fcntl.LOCK_EX)
            try:
                yield alone
            finally:
                if alone:
                    await self._pool.run(lock.remove)
        finally:
            lock.close()

    async def held(self) -> frozenset[str]:
        """The ids that some process, this one included, holds right now."""
        return await self._pool.run(self._held)

    async def close(self) -> None:
        """Nothing to give back: each hold is released by who has it, or ends with the process."""

    def _held(self) -> frozenset[str]:
        with suppress(FileNotFoundError):
            return frozenset(name for name in os.listdir(self._directory) if _is_locked(self._directory / name))
        return frozenset()


class UnprotectedHolds:
    """For a tier that we cannot write: nothing is removed from it by us, so nothing needs protection from us."""

    async def take(self, id: str) -> Hold:
        """A hold that costs nothing and protects from nothing. Raises Usage."""
        hold_path(Path(), id)
        return Hold(id, lambda: None)

    @asynccontextmanager
    async def exclusive(self, id: str) -> AsyncIterator[bool]:
        """Never alone: others may read there, and we could not know."""
        hold_path(Path(), id)
        yield False

    async def held(self) -> frozenset[str]:
        """Nobody that we know of."""
        return frozenset()

    async def close(self) -> None:
        """Nothing to give back."""


class _Lock:
    """A lock on whatever file a path names at that moment; `close` may be called at any time and again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self, kind: int) -> bool:
        """False if somebody else's lock is in the way, or the file is being replaced too fast to follow."""
        for _ in range(10):
            # Existing first: on a full disk a new name may be refused. Read-only is enough for flock.
            fd = _open(self._path, 0)
            if fd is None:
                fd = _open(self._path, os.O_CREAT)
            if fd is None:
                continue
            try:
                fcntl.flock(fd, kind | fcntl.LOCK_NB)
                if _leads_to(self._path, fd):
                    self._fd, fd = fd, None
                    return True
            except BlockingIOError:
                return False
            finally:
                if fd is not None:
                    os.close(fd)
        return False

    def remove(self) -> None:
        """Unlink the file; only for whoever holds it alone."""
        with suppress(OSError):  # what stays is an unlocked file, which holds nothing
            os.unlink(self._path)

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            # Not only closed: a forked child may share the descriptor, and must not prolong the hold.
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)


def hold_path(directory: Path, id: str) -> Path:
    """Where the holds of a snapshot are; raises Usage for what cannot be an id."""
    if id in ("", ".", "..") or "/" in id or "\0" in id or len(os.fsencode(id)) > COMPONENT_BYTES:
        raise Usage(f"{id[:80]!r} is not the id of a snapshot", hint="`cachemgr ls` shows the ids")
    return directory / id


class Patience:
    """A wait for the end of a removal, which looks less and less often and does not last for ever."""

    def __init__(self, id: str, seconds: float) -> None:
        self._id = id
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._pause_seconds = _POLL_SECONDS

    async def pause(self) -> None:
        """Wait a little; raises Held when patience ends."""
        if time.monotonic() >= self._deadline:
            raise Held(f"{self._id} has been in removal for {self._seconds:g} s", hint="wait until its removal ends")
        await asyncio.sleep(self._pause_seconds)
        self._pause_seconds = min(2 * self._pause_seconds, _LONGEST_POLL_SECONDS)


@contextmanager
def told(id: str) -> Iterator[None]:
    """Turn an error of the file system into ours."""
    try:
        yield
    except OSError as error:
        raise TierUnavailable(f"no hold can be kept on {id}: {error.strerror}") from error


def _open(path: Path, flags: int) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | flags, 0o666)
    except FileNotFoundError:
        if flags and not path.parent.is_dir():
            raise
        return None


def _leads_to(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(fd))
    except FileNotFoundError:
        return False


def _is_locked(path: Path) -> bool:
    fd = _open(path, 0)
    if fd is None:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
