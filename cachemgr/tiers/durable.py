"""Small files and directories that survive a power cut: temporary name, fsync, rename, fsync of the directory."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from cachemgr.domain.errors import Usage
from cachemgr.tiers.owner import Owner

NO_LINKS = frozenset({errno.EPERM, errno.EMLINK, errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP})
"""What a file system answers that cannot link these two names; it says nothing about space."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""No space, by the file system or by a quota."""

JSON_BYTES = 256 << 20
"""Nothing of ours comes near; what is larger was not written by us and is not loaded into memory."""


def sync_directory(path: Path | int) -> None:
    """Make the names in a directory durable (a path, or a descriptor of it)."""
    fd = os.dup(path) if isinstance(path, int) else os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some network file systems have no such call for directories: there is nothing more that we could do.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(fd)


def make_directory(path: Path) -> None:
    """Create a directory and what is missing above it, each durable in its parent."""
    if os.path.isdir(path):
        return
    make_directory(path.parent)
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    sync_directory(path.parent)


def write_scratch(staging: Path, data: bytes, mode: int = 0o644) -> Path:
    """A new durable file under a name of this process, to be renamed to where it belongs."""
    path = staging / f"file.{Owner.current().unique_name()}"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with removed_on_error(path):
        try:
            _write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
    return path


@contextlib.contextmanager
def removed_on_error(path: Path) -> Iterator[None]:
    """Leave no file behind if the block fails."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def write_file(path: Path, data: bytes, staging: Path) -> None:
    """Replace a file as a whole and durably; at any instant there is the old one or the new one."""
    scratch = write_scratch(staging, data)
    with removed_on_error(scratch):
        os.replace(scratch, path)
    sync_directory(path.parent)


def write_json(path: Path, value: Mapping[str, object], staging: Path) -> None:
    """`write_file` of a JSON document that people can read, too."""
    write_file(path, json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n", staging)


def read_json(path: Path) -> dict[str, object] | None:
    """The JSON object in a regular file, or None if there is no such file; Usage for anything that is not one."""
    try:
        data = read_bytes(path, JSON_BYTES)
    except FileNotFoundError:
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Usage(f"{path.name} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Usage(f"{path.name} is not a JSON object")
    return value


def read_bytes(path: Path | str, limit: int, dir_fd: int | None = None) -> bytes:
    """What a regular file contains, links not followed; Usage if it is no such file or larger than `limit`."""
    # Non-blocking: a pipe that somebody put here must not stop us for ever.
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=dir_fd)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise Usage(f"{os.path.basename(path)} is a link") from None
    with os.fdopen(fd, "rb") as stream:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_size > limit:
            raise Usage(f"{os.path.basename(path)} is not a file of ours")
        return stream.read()


def remove_file(path: Path) -> bool:
    """Unlink; True if it was there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def names(path: Path) -> list[str]:
    """What is in a directory, sorted; nothing if there is no such directory."""
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []


def now(staging: Path) -> float:
    """The time by the clock that stamps this tier's files: on a network volume that is not ours."""
    path = staging / f"clock.{Owner.current().unique_name()}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        if error.errno not in FULL:
            raise
        return time.time()
    try:
        return os.fstat(fd).st_mtime
    finally:
        os.close(fd)
        remove_file(path)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
