"""Sending a range of a file to a store: from the page cache into the socket, without passing through Python."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cachemgr.domain.errors import OriginUnavailable
from cachemgr.moving.gear import Gear
from cachemgr.moving.patience import Broken
from cachemgr.moving.reading import open_source, read_full
from cachemgr.moving.remote import Reply, Request
from cachemgr.moving.sinks import STEP
from cachemgr.moving.stop import Stop
from cachemgr.moving.wires import Origin, Wire

_AT_ONCE = 4 << 20
_MOST_BODY = 64 << 10
_FILE_FAULTS = frozenset({errno.EIO, errno.ENXIO, errno.ESTALE, errno.EINVAL, errno.ENODEV})


class _FileFault(Exception):
    """Carries an OSError of the file past those who would take it for one of the connection."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Send:
    """One PUT, tried once.

    Whether it may be sent again depends on what it means (a conditional one may have succeeded although its answer
    was lost), and its caller knows that.
    """

    gear: Gear
    stop: Stop
    request: Request
    progress: Callable[[int], None]

    def run(self, path: Path, offset: int, length: int) -> Reply:
        """Send these bytes and return the answer, whatever its status; raises OriginUnavailable, OSError, Stopped."""
        origin = Origin.of(self.request.url)
        try:
            with open_source(path) as fd, self.gear.turns.one(origin, self.stop):
                wire = self.gear.wires.take(origin, self.stop)
                return self._exchange(wire, fd, offset, length)
        except _FileFault as fault:
            raise fault.cause from None
        except Broken as exc:
            self.stop.check()
            raise OriginUnavailable(str(exc)) from exc

    def _exchange(self, wire: Wire, fd: int, offset: int, length: int) -> Reply:
        headers = {name: value for name, value in self.request.headers.items() if name.lower() != "content-length"}
        headers["Content-Length"] = str(length)
        reusable = False
        try:
            with self.stop.watching(wire.sock):
                body = self._body(fd, offset, length)
                response = wire.ask("PUT", self.request.url, headers, body)
                content = response.read(_MOST_BODY)
            reusable = response.isclosed() and not response.will_close and not wire.half_sent
            return Reply(response.status, {name.lower(): value for name, value in response.headers.items()}, content)
        except OSError as exc:
            raise Broken(f"{wire.origin} broke off its answer ({type(exc).__name__})") from exc
        finally:
            if reusable:
                self.gear.wires.give(wire)
            else:
                wire.close()

    def _body(self, fd: int, offset: int, length: int) -> Callable[[socket.socket], None]:
        def send(sock: socket.socket) -> None:
            done = 0
            while done < length:
                self.stop.check()
                step = self._encrypted if isinstance(sock, ssl.SSLSocket) else self._plain
                count = step(sock, fd, offset + done, length - done)
                self.progress(count)
                done += count

        return send

    @staticmethod
    def _plain(sock: socket.socket, fd: int, offset: int, left: int) -> int:
        with os.fdopen(fd, "rb", buffering=0, closefd=False) as file:
            try:
                count = sock.sendfile(file, offset, min(left, _AT_ONCE))
            except OSError as exc:
                if exc.errno in _FILE_FAULTS:
                    raise _FileFault(exc) from exc
                raise
        return _some(count)

    def _encrypted(self, sock: socket.socket, fd: int, offset: int, left: int) -> int:
        view = memoryview(bytearray(min(left, STEP)))
        try:
            count = _some(read_full(fd, view, offset))
        except OSError as exc:
            raise _FileFault(exc) from exc
        sock.sendall(view[:count])
        return count


def _some(count: int) -> int:
    if not count:
        raise _FileFault(OSError(errno.EIO, "the file became shorter while it was sent"))
    return count
