"""HTTP/1.1 over plain sockets: requests read, answers written, large bodies by sendfile."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs, unquote, urlsplit

from tests.services.hub.content import Content

MAX_HEAD = 64 << 10
MAX_BODY = 256 << 20


class Disconnected(Exception):
    """The client left, or sent what is not HTTP."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names are lower case, `path` is still quoted as sent."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """The path without its query, quoted."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The query; of a repeated name the last."""
        return {name: values[-1] for name, values in self.query_lists.items()}

    @property
    def query_lists(self) -> dict[str, list[str]]:
        """The query, with repeated names."""
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def parts(self) -> list[str]:
        """The path split at its slashes, each part unquoted."""
        return [unquote(part) for part in self.path.split("/")[1:]]

    @property
    def token(self) -> str | None:
        """The bearer token."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None


@dataclass(slots=True)
class Slice:
    """`length` bytes of a content from `offset`; `flip` is the position in the content of a byte to falsify."""

    content: Content
    offset: int
    length: int
    flip: int | None = None


@dataclass(slots=True)
class Answer:
    """A status, headers and a body; `length` is what Content-Length says if that is not the body's."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Slice = b""
    length: int | None = None
    file: str | None = None

    @property
    def slice(self) -> Slice:
        """The body as a slice."""
        if isinstance(self.body, Slice):
            return self.body
        return Slice(Content(len(self.body), "", "", data=self.body), 0, len(self.body))

    def head(self) -> bytes:
        """The status line and headers."""
        length = self.slice.length if self.length is None else self.length
        phrase = HTTPStatus(self.status).phrase if self.status in HTTPStatus._value2member_map_ else "Unknown"
        lines = [f"HTTP/1.1 {self.status} {phrase}", *(f"{name}: {value}" for name, value in self.headers.items())]
        if self.status not in (204, 304):
            lines.append(f"Content-Length: {length}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Wire:
    """One connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._pending = b""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def receive(self) -> Request | None:
        """The next request; None if the client is done. Raises Disconnected."""
        head = self._head()
        if head is None:
            return None
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise Disconnected(lines[0][:80])
        pairs = (line.partition(":") for line in lines[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        return Request(words[0], words[1], headers, self._body(headers))

    def _head(self) -> bytes | None:
        while b"\r\n\r\n" not in self._pending:
            data = self.sock.recv(MAX_HEAD)
            if not data and not self._pending:
                return None
            if not data or len(self._pending) > MAX_HEAD:
                raise Disconnected("the head of a request broke off")
            self._pending += data
        head, self._pending = self._pending.split(b"\r\n\r\n", 1)
        return head

    def _body(self, headers: Mapping[str, str]) -> bytes:
        length = int(headers.get("content-length", "0"))
        if length > MAX_BODY:
            raise Disconnected("the body of a request is too large")
        while len(self._pending) < length:
            data = self.sock.recv(1 << 20)
            if not data:
                raise Disconnected("the body of a request broke off")
            self._pending += data
        body, self._pending = self._pending[:length], self._pending[length:]
        return body

    def send_head(self, answer: Answer, *, more: bool) -> None:
        """Send the head; with `more` it travels with the body's first bytes."""
        self.sock.sendall(answer.head(), socket.MSG_MORE if more else 0)

    def reset(self) -> None:
        """Close so that the client gets RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def gone(self) -> bool:
        """True if the client closed its side."""
        try:
            return self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


class Pace:
    """At most `rate` bytes per second over all who ask."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._free_at = 0.0

    def wait(self, count: int) -> None:
        """Sleep until `count` more bytes may go; the caller holds no lock."""
        now = time.monotonic()
        start = max(now, self._free_at)
        self._free_at = start + count / self.rate
        time.sleep(max(0.0, start - now))
