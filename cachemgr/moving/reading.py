"""Reading files that others may have made: never a pipe or a device, never more than is there."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cachemgr.moving.system import read_ahead


@contextlib.contextmanager
def open_source(path: Path) -> Iterator[int]:
    """A descriptor of the regular file at `path` (a link to one is followed); raises OSError."""
    # O_NONBLOCK: opening a pipe that somebody put there must not wait for a writer for ever.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        read_ahead(fd)
        yield fd
    finally:
        os.close(fd)


def read_full(fd: int, view: memoryview, offset: int) -> int:
    """Fill `view` from `offset` on; fewer bytes only at the end of the file. Raises OSError."""
    done = 0
    while done < len(view):
        count = os.preadv(fd, [view[done:]], offset + done)
        if not count:
            break
        done += count
    return done
