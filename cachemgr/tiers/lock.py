"""One daemon on one tier of this host: a kernel lock, which ends with its process."""

from __future__ import annotations

import fcntl
import os
from types import TracebackType

from cachemgr.domain.errors import Held
from cachemgr.tiers.layout import Layout


class DaemonLock:
    """Two daemons on one disk would each evict what the other counts on; both methods block."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.own / "daemon.lock"
        self._fd: int | None = None

    def __enter__(self) -> DaemonLock:
        """Take it; raises Held that names the daemon which has it, and OSError."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        except BlockingIOError as error:
            owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise Held(
                f"another cachemgr (process {owner or 'unknown'}) works on {self._path.parent.parent}",
                hint="use that one (set CACHEMGR_SOCKET to its socket), or give this one a disk.path of its own",
            ) from error
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give it back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
