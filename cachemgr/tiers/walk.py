"""Walks below a tier by directory descriptors, so that no symbolic link can lead out of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cachemgr.tiers.durable import sync_directory

Clear = Callable[[int, str], None]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def opened(anchor: Path, path: Path, *, make: bool = False) -> Iterator[int]:
    """A descriptor of the directory `path` below `anchor` (itself trusted).

    Raises FileNotFoundError if it is not there (unless `make`), NotADirectoryError if any step is a link or a file.
    """
    fd = os.open(anchor, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with below(fd, path.relative_to(anchor).parts, make=make) as inner:
            yield inner
    finally:
        os.close(fd)


@contextmanager
def below(fd: int, parts: Iterable[str], *, make: bool = False, clear: Clear | None = None) -> Iterator[int]:
    """A descriptor of a directory below an open one; `clear(directory, name)` runs before each step. See `opened`."""
    fd = os.dup(fd)
    try:
        for name in parts:
            if clear is not None:
                clear(fd, name)
            inner = step(fd, name, make=make)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def step(fd: int, name: str, *, make: bool = False) -> int:
    """A descriptor of one directory below another; the caller closes it. Errors as `opened`."""
    if make:
        try:
            os.mkdir(name, dir_fd=fd)
        except FileExistsError:
            pass
        else:
            sync_directory(fd)
    return os.open(name, _DIRECTORY, dir_fd=fd)


def look(fd: int, name: str) -> os.stat_result | None:
    """What is there under a name, links not followed; None if nothing."""
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def files(fd: int, prefix: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Everything below a directory that is not a directory, as (path below it, stat); links are not followed."""
    for name in sorted(os.listdir(fd)):
        info = look(fd, name)
        if info is None:
            continue
        if not stat.S_ISDIR(info.st_mode):
            yield prefix + name, info
            continue
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), below(fd, [name]) as inner:
            yield from files(inner, f"{prefix}{name}/")


def symlinks(fd: int) -> Iterator[str]:
    """The targets of all symbolic links below a directory."""
    for name in os.listdir(fd):
        info = look(fd, name)
        if info is not None and stat.S_ISLNK(info.st_mode):
            with contextlib.suppress(OSError):
                yield os.readlink(name, dir_fd=fd)
        elif info is not None and stat.S_ISDIR(info.st_mode):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), below(fd, [name]) as inner:
                yield from symlinks(inner)


def remove(fd: int, name: str) -> None:
    """Delete what is there under a name, with all that is below it; links are deleted, not followed."""
    info = look(fd, name)
    if info is None:
        return
    if stat.S_ISDIR(info.st_mode):
        shutil.rmtree(name, dir_fd=fd)
    else:
        os.unlink(name, dir_fd=fd)
