"""A store that misbehaves on demand: it stands before a real one and keeps a journal of what it was asked."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import unquote, urlsplit

from tests.services.s3 import S3Server

Kind = Literal["answer", "lose", "drop", "flip", "cut"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came in; header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]

    @property
    def what(self) -> str:
        """`PUT /bucket/key?query`."""
        return f"{self.method} {self.path}?{self.query}"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a request.

    answer: it is answered here. lose: it never arrives. drop: it arrives and its answer does not. flip: one byte of
    its body is changed. cut: half of the answer's body arrives. With a `gate`, it first waits for that.
    """

    kind: Kind
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    gate: threading.Event | None = None


@dataclass
class _Rule:
    words: tuple[str, ...]
    fault: Fault
    times: int


@dataclass
class FaultyStore:
    """The server, and what it is to do wrong."""

    server: S3Server
    journal: list[Asked] = field(default_factory=list)
    reached: threading.Event = field(default_factory=threading.Event)
    _rules: list[_Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def on(self, *words: str, fault: Fault, times: int = 1) -> None:
        """Let this happen to the next requests whose `what` contains all these words."""
        self._rules.append(_Rule(words, fault, times))

    def asked(self, *words: str) -> list[Asked]:
        """The requests so far whose `what` contains all these words."""
        return [one for one in self.journal if all(word in one.what for word in words)]

    def note(self, asked: Asked) -> Fault | None:
        """Write a request down; what is to happen to it."""
        with self._lock:
            self.journal.append(asked)
            for rule in self._rules:
                if rule.times > 0 and all(word in asked.what for word in rule.words):
                    rule.times -= 1
                    self.reached.set()
                    return rule.fault
        return None


@contextmanager
def faulty_store(target: S3Server) -> Iterator[FaultyStore]:
    """Stand before `target`, whose signatures stay good: the Host header is passed on."""
    store = FaultyStore(target)
    with _serving(store, target.endpoint_url) as url:
        store.server = replace(target, endpoint_url=url)
        yield store


@contextmanager
def _serving(store: FaultyStore, target: str) -> Iterator[str]:
    class Handler(_Handler):
        faulty = store
        behind = urlsplit(target).netloc

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faulty: FaultyStore
    behind: str

    def _handle(self) -> None:
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = self.faulty.note(Asked(self.command, unquote(path), query, headers))
        if fault is not None and fault.gate is not None:
            fault.gate.wait(60)
        kind = fault.kind if fault is not None else None
        body = self.rfile.read(int(headers.get("content-length", "0")))
        if kind == "lose":
            self._hang_up()
        elif fault is not None and kind == "answer":
            self._answer(fault.status, fault.headers, fault.body)
        else:
            self._pass_on(_flipped(body) if kind == "flip" else body, kind)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle

    def _pass_on(self, body: bytes, kind: Kind | None) -> None:
        connection = http.client.HTTPConnection(self.behind, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            with suppress(BrokenPipeError, ConnectionResetError):  # it may answer before it has read everything
                connection.endheaders(body or None)
            answer = connection.getresponse()
            content = answer.read()
        except OSError:
            self._hang_up()
            return
        finally:
            connection.close()
        if kind == "drop":
            self._hang_up()
            return
        headers = {k: v for k, v in answer.getheaders() if k.lower() not in ("transfer-encoding", "connection", "date")}
        self._answer(answer.status, headers, content, cut=kind == "cut")

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes, *, cut: bool = False) -> None:
        with suppress(OSError):
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() != "content-length" or self.command == "HEAD":
                    self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: len(body) // 2] if cut else body)
            self.wfile.flush()
        if cut:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(2)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _flipped(body: bytes) -> bytes:
    return body[:-1] + bytes([body[-1] ^ 1]) if body else body
