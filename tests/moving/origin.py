"""A strict little HTTP origin that does on demand what real ones do on bad days."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

Fault = Callable[["Exchange"], None]
_REQUEST_LINE = re.compile(rb"(GET|PUT) (/[!-~]*) HTTP/1\.1")
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""

    def span(self, size: int) -> tuple[int, int]:
        """The bytes [start, end) that were asked for."""
        match = _RANGE.fullmatch(self.headers.get("range", ""))
        return (int(match[1]), int(match[2]) + 1) if match else (0, size)


class Hangup(Exception):
    """The connection is to be closed now."""


@dataclass
class Exchange:
    """One request and the means to answer it, well or badly."""

    origin: FaultyOrigin
    sock: socket.socket
    asked: Asked

    @property
    def content(self) -> bytes:
        """What lies at the path that was asked for."""
        return self.origin.files.get(self.asked.path.partition("?")[0], b"")

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head of an answer."""
        lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send a whole answer; `_` in a header's name stands for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.head(status, {"Content-Length": str(len(body)), **named})
        self.sock.sendall(body)

    def good_head(self) -> tuple[int, int]:
        """Send the head that belongs to what was asked; the span that has to follow."""
        start, end = self.asked.span(len(self.content))
        headers = {"Content-Length": str(end - start), "ETag": self.origin.etags.get(self.asked.path, '"e"')}
        if "range" in self.asked.headers:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(self.content)}"
        self.head(206 if "range" in self.asked.headers else 200, headers)
        return start, end

    def serve(self) -> None:
        """Answer as one should."""
        if self.asked.path.partition("?")[0] not in self.origin.files:
            return self.answer(404)
        start, end = self.good_head()
        self.sock.sendall(memoryview(self.content)[start:end])
        self.origin.sent(self.asked.path, end - start)
        return None

    def reset(self) -> None:
        """End the connection by RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Hangup


@dataclass(repr=False)
class FaultyOrigin:
    """Serves `files` on a free loopback port; `faults[path]` are used up first, one per request."""

    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, deque[Fault]] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    bytes_sent: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    most_at_once: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._tls: ssl.SSLContext | None = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """The origin's address, without a slash at the end."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def secure(self, certificate: str) -> None:
        """Speak TLS from now on."""
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate)

    def fail(self, path: str, *faults: Fault) -> None:
        """Let the next requests for `path` meet these faults."""
        self.faults.setdefault(path, deque()).extend(faults)

    def sent(self, path: str, count: int) -> None:
        """Count body bytes."""
        with self._lock:
            self.bytes_sent[path] += count

    @contextlib.contextmanager
    def running(self) -> Iterator[FaultyOrigin]:
        """Serve inside this block; what it complained of about its clients fails the test at the end."""
        accepting = threading.Thread(target=self._accept, daemon=True)
        accepting.start()
        try:
            yield self
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            accepting.join()
            self.hang_up()
            for thread in self._threads:
                thread.join(10)
        assert self.complaints == []

    def hang_up(self) -> None:
        """Cut all connections."""
        with self._lock:
            for sock in list(self._open):
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
            thread = threading.Thread(target=self._converse, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _converse(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, Hangup), contextlib.ExitStack() as stack:
            stack.callback(sock.close)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
                stack.callback(sock.close)
            with self._lock:
                self._open.add(sock)
                self.most_at_once = max(self.most_at_once, len(self._open))
            stack.callback(self._open.discard, sock)
            reader = sock.makefile("rb")
            stack.callback(reader.close)
            while (asked := self._read(reader)) is not None:
                self._respond(Exchange(self, sock, asked))

    def _respond(self, exchange: Exchange) -> None:
        with self._lock:
            self.asked.append(exchange.asked)
            waiting = self.faults.get(exchange.asked.path)
            fault = waiting.popleft() if waiting else None
        if fault is not None:
            fault(exchange)
        elif exchange.asked.method == "PUT":
            self.files[exchange.asked.path] = exchange.asked.body
            exchange.answer(200, ETag='"put"')
        else:
            exchange.serve()

    def _read(self, reader: object) -> Asked | None:
        readline, read = reader.readline, reader.read  # type: ignore[attr-defined]  # a socket's file; typeshed hides it
        line = readline()
        if not line:
            return None
        match = _REQUEST_LINE.fullmatch(line.rstrip(b"\r\n"))
        if match is None:
            self.complaints.append(f"not a request: {line!r}")
            return None
        headers: dict[str, str] = {}
        while (line := readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").rstrip("\r\n").partition(": ")
            if name.lower() in headers:
                self.complaints.append(f"header {name} twice")
            headers[name.lower()] = value
        if headers.get("host") != f"127.0.0.1:{self.port}":
            self.complaints.append(f"Host is {headers.get('host')!r}")
        body = read(int(headers.get("content-length", "0")))
        return Asked(match[1].decode(), match[2].decode(), headers, body)
