"""Writing a movement's bytes into its targets, each in the way that suits its file system."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator, Sequence

from cachemgr.moving.system import O_DIRECT, allocate, forget, start_writeback
from cachemgr.moving.target import Target

STEP = 256 << 10
"""How much is received and hashed at a time: it is still in the core's own cache when it is written."""

_BLOCK = 4096
_DIRECT_PIECE = 2 << 20
_DIRECT_FROM = 1 << 20
_SLICE = 256 << 10
_WRITEBACK = 8 << 20


class Sink:
    """One target file, open for writing at any offset from any thread; `piece` is how much it likes at once."""

    def __init__(self, target: Target, size: int) -> None:
        self._target = target
        self._size = size
        self._fds: list[int] = []
        # File systems let one thread at a time write through the page cache, and the others spin.
        self._one_writer = threading.Lock()
        self._direct: int | None = None
        self._buffered = self._open(0)
        try:
            self._prepare()
        except BaseException:
            self.abandon()
            raise
        self.piece = STEP if self._direct is None else _DIRECT_PIECE

    def _open(self, flags: int) -> int:
        fd = os.open(self._target.path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | flags)
        self._fds.append(fd)
        return fd

    def _prepare(self) -> None:
        if os.fstat(self._buffered).st_size != self._size:
            os.ftruncate(self._buffered, self._size)
        # A small file gains nothing from the second descriptor and its allocation.
        if not self._target.local or self._size < _DIRECT_FROM:
            return
        allocate(self._buffered, self._size)
        with contextlib.suppress(OSError):  # tmpfs and some FUSE file systems refuse: through the page cache, then
            self._direct = self._open(O_DIRECT) if O_DIRECT else None

    def write(self, data: memoryview, offset: int) -> None:
        """Write all of `data`; raises OSError. Past the page cache, `data` lies on a page and so does `offset`."""
        done = self._write_direct(data, offset) if self._direct is not None else 0
        if done < len(data):
            self._write_buffered(data[done:], offset + done)

    def _write_direct(self, data: memoryview, offset: int) -> int:
        # Whole blocks only: the file's last, partial block goes through the page cache like any other write.
        whole = 0 if offset % _BLOCK else len(data) - len(data) % _BLOCK
        done = 0
        while done < whole and self._direct is not None:
            try:
                done += os.pwrite(self._direct, data[done:whole], offset + done)
            except OSError as exc:
                if exc.errno != errno.EINVAL:
                    raise
                self._direct = None  # opened, but refused at the first write: FUSE does this
            if done % _BLOCK:
                break
        return done

    def _write_buffered(self, data: memoryview, offset: int) -> None:
        done = 0
        with self._one_writer:
            while done < len(data):
                done += os.pwrite(self._buffered, data[done : done + _SLICE], offset + done)
        before, after = offset // _WRITEBACK, (offset + done) // _WRITEBACK
        if after > before:
            start_writeback(self._buffered, before * _WRITEBACK, (after - before) * _WRITEBACK)

    def sync(self) -> None:
        """Return when all that was written would survive a loss of power; raises OSError."""
        os.fsync(self._buffered)

    def finish(self) -> None:
        """Sync and close, with every error reported; raises OSError."""
        self.sync()
        size = os.fstat(self._buffered).st_size
        if size != self._size:
            raise OSError(errno.EIO, f"the file has {size} bytes, not {self._size}: somebody else writes to it")
        if not self._target.local:
            forget(self._buffered)
        while self._fds:
            os.close(self._fds.pop())  # a quota may be reported here and nowhere else

    def abandon(self) -> None:
        """Close whatever is still open; what was written is worth nothing."""
        while self._fds:
            with contextlib.suppress(OSError):
                os.close(self._fds.pop())


class Sinks:
    """All targets of one movement."""

    def __init__(self, opened: Sequence[Sink]) -> None:
        self._opened = opened
        self.piece = max((sink.piece for sink in opened), default=STEP)

    def __bool__(self) -> bool:
        return bool(self._opened)

    def spill(self, view: memoryview, offset: int) -> Spill:
        """A writer for the buffer `view`, which will hold the bytes from `offset` on."""
        return Spill(self._opened, view, offset)

    def sync(self) -> None:
        """Sync all of them; raises OSError."""
        for sink in self._opened:
            sink.sync()

    def finish(self) -> None:
        """Sync and close all of them; raises OSError."""
        for sink in self._opened:
            sink.finish()


class Spill:
    """Writes one buffer to all sinks while it fills, to each in the pieces that suit it."""

    def __init__(self, sinks: Sequence[Sink], view: memoryview, offset: int) -> None:
        self._view = view
        self._offset = offset
        self._sinks = sinks
        self._written = [0] * len(sinks)

    def grown(self, filled: int) -> None:
        """The first `filled` bytes are there now; a full buffer is written to its end. Raises OSError."""
        for n, sink in enumerate(self._sinks):
            done = self._written[n]
            upto = filled if filled == len(self._view) else filled - filled % sink.piece
            if upto > done:
                sink.write(self._view[done:upto], self._offset + done)
                self._written[n] = upto


@contextlib.contextmanager
def open_sinks(targets: Sequence[Target], size: int) -> Iterator[Sinks]:
    """Open all targets, exactly `size` bytes long; they are closed on leaving, and worthless unless finished."""
    with contextlib.ExitStack() as stack:
        opened = []
        for target in targets:
            opened.append(sink := Sink(target, size))
            stack.callback(sink.abandon)
        yield Sinks(opened)
