"""A way to end blocked threads: a flag they look at, and sockets that are shut down under them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Stopped(Exception):
    """Raised in a data thread whose movement was cancelled or failed elsewhere."""


class Stop:
    """One movement's request to end, seen by all of its threads at their next buffer."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    def set(self) -> None:
        """Ask for the end; a thread that waits for the network is woken by the shutdown of its socket."""
        self._event.set()
        with self._lock:
            for sock in self._sockets:
                _shut_down(sock)

    def check(self) -> None:
        """Raise Stopped if the end was asked for."""
        if self._event.is_set():
            raise Stopped

    def wait(self, seconds: float) -> None:
        """Sleep, or raise Stopped as soon as the end is asked for."""
        if self._event.wait(seconds):
            raise Stopped

    @contextlib.contextmanager
    def watching(self, sock: socket.socket) -> Iterator[None]:
        """Shut `sock` down if the end is asked for inside this block; it must not be closed inside."""
        with self._lock:
            self._sockets.add(sock)
        try:
            self.check()
            yield
        finally:
            # Under the lock, so that a shutdown never meets a descriptor that was closed and given to another file.
            with self._lock:
                self._sockets.discard(sock)


def _shut_down(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # Not SSLSocket.shutdown: it forgets its TLS state, which the reading thread is using.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
