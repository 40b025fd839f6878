"""One listening origin: accepts connections, one thread each, and lets the faults have their way with the answers."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import unquote

from tests.services.hub.answers import Refused, refusal
from tests.services.hub.content import Content
from tests.services.hub.faults import Fault, Faults
from tests.services.hub.journal import Asked, Journal
from tests.services.hub.wire import Answer, Disconnected, Pace, Request, Slice, Wire

_SLOW_STEP = 32 << 10
_FILE = {
    "hub": re.compile(r"/(?P<repo>[^/]+(?:/[^/]+)?)/resolve/[^/]+/(?P<path>.+)"),
    "cdn": re.compile(r"/(?P<repo>.+?)/[0-9a-f]{64}/(?P<path>.+)"),
}
_CACHED = re.compile(r"/api/resolve-cache/models/(?P<repo>[^/]+/[^/]+)/[0-9a-f]{40}/(?P<path>.+)")


class Origin:
    """A server on `host`:`port` (0: any free one) that answers with `respond`."""

    def __init__(
        self, name: str, respond: Callable[[Request], Answer], faults: Faults, journal: Journal, host: str, port: int
    ) -> None:
        self.name = name
        self._respond = respond
        self._faults = faults
        self._journal = journal
        self._paces: dict[Fault, Pace] = {}
        self._open: set[socket.socket] = set()
        self._closing = threading.Event()
        self._listener = socket.create_server((host, port), backlog=512)
        self.url = f"http://{host}:{self._listener.getsockname()[1]}"
        self._acceptor = threading.Thread(target=self._accept, name=f"hub-{name}", daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Stop listening and drop all connections."""
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(sock)
            threading.Thread(target=self._serve, args=(sock,), name=f"hub-{self.name}-conn", daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        wire = Wire(sock)
        try:
            while (request := wire.receive()) is not None:
                # A question about the journal must not wait for itself.
                with contextlib.nullcontext() if _is_control(request) else self._journal.busy():
                    if not self._exchange(wire, request):
                        break
        except (OSError, Disconnected):
            pass
        finally:
            self._open.discard(sock)
            sock.close()

    def _exchange(self, wire: Wire, request: Request) -> bool:
        """Answer one request; False if the connection is used up."""
        path = unquote(request.path)
        file = self._file(path)
        fault, slow = (None, []) if _is_control(request) else self._meet(request, path, file)
        if fault is not None and fault.kind == "drop":
            self._record(request, file, 0, 0)
            return False
        answer = self._answer(request, fault)
        sent = 0
        try:
            for count in self._deliver(wire, request, answer, fault, slow):
                sent += count
        finally:
            self._record(request, file, answer.status, sent)
        broken = fault is not None and fault.kind in ("cut", "reset")
        return not broken and request.headers.get("connection", "").lower() != "close"

    def _file(self, path: str) -> str | None:
        match = _FILE[self.name].fullmatch(path) or _CACHED.fullmatch(path)
        return f"{match['repo']}/{match['path']}" if match else None

    def _meet(self, request: Request, path: str, file: str | None) -> tuple[Fault | None, list[Fault]]:
        fault, slow = self._faults.meet(self.name, request.method, (path, file) if file else (path,))
        if fault is not None:
            fault.reached.set()
            if fault.action is not None:
                fault.action()
        return fault, slow

    def _answer(self, request: Request, fault: Fault | None) -> Answer:
        if fault is not None and fault.kind == "status":
            return Answer(fault.status, dict(fault.headers), fault.body)
        if fault is not None and fault.kind == "whole":
            request = replace(request, headers={k: v for k, v in request.headers.items() if k != "range"})
        try:
            answer = self._respond(request)
        except Refused as refused:
            answer = refused.answer
        except (LookupError, ValueError) as exc:
            answer = refusal(400, f"bad request: {exc!r}").answer
        return distorted(answer, fault) if fault else answer

    def _deliver(
        self, wire: Wire, request: Request, answer: Answer, fault: Fault | None, slow: list[Fault]
    ) -> Iterator[int]:
        """Send head and body, yielding counts of body bytes."""
        body = answer.slice if request.method != "HEAD" else Slice(Content.of(b""), 0, 0)
        stops = fault is not None and fault.kind in ("cut", "reset", "stall") and request.method != "HEAD"
        stop = min(fault.at, body.length) if fault is not None and stops else body.length
        wire.send_head(answer, more=stop > 0)
        yield from self._send(wire, replace(body, length=stop), slow)
        if fault is None or not stops:
            return
        if fault.kind == "reset":
            wire.reset()
        elif fault.kind == "stall" and self._stall(wire, fault):
            rest = replace(body, offset=body.offset + stop, length=body.length - stop)
            yield from self._send(wire, rest, slow)

    def _send(self, wire: Wire, body: Slice, slow: list[Fault]) -> Iterator[int]:
        paces = [self._paces.setdefault(fault, Pace(fault.rate)) for fault in slow]
        for piece in pieces(body, _SLOW_STEP if paces else body.length):
            for pace in paces:
                pace.wait(piece.length)
            yield from piece.content.send(wire.sock, piece.offset, piece.length)

    def _stall(self, wire: Wire, fault: Fault) -> bool:
        """Wait; True if the answer may go on, which is also said to who waits in vain."""
        with self._journal.idle():
            while not fault.release.wait(0.02):
                if wire.gone() or self._closing.is_set():
                    raise Disconnected("left while the answer was stalled")
        return True

    def _record(self, request: Request, file: str | None, status: int, sent: int) -> None:
        if _is_control(request):
            return
        headers = request.headers
        agent, asked_range = headers.get("user-agent", ""), headers.get("range")
        authorized = "authorization" in headers
        path = unquote(request.path)
        self._journal.add(Asked(self.name, request.method, path, file, status, sent, agent, asked_range, authorized))


def _is_control(request: Request) -> bool:
    return request.path.startswith("/_control/")


def pieces(body: Slice, step: int) -> Iterator[Slice]:
    """The body in pieces of at most `step` bytes, its false byte in a piece of its own."""
    offset, end = body.offset, body.offset + body.length
    while offset < end:
        until = min(end, offset + step)
        if body.flip == offset:
            false = bytes([body.content.read(offset, 1)[0] ^ 0x10])
            yield Slice(Content(1, "", "", data=false), 0, 1)
            offset += 1
            continue
        if body.flip is not None and offset < body.flip < until:
            until = body.flip
        yield Slice(body.content, offset, until - offset)
        offset = until


def distorted(answer: Answer, fault: Fault) -> Answer:
    """The answer as the fault leaves it; kinds that act while it is sent leave it alone."""
    if fault.kind == "garbage":
        return replace(answer, body=fault.body)
    if fault.kind == "expired" and "Location" in answer.headers:
        gone = re.sub(r"Expires=\d+", "Expires=1", answer.headers["Location"])
        return replace(answer, headers={**answer.headers, "Location": gone})
    if answer.status in (200, 206):
        return _distorted_body(answer, answer.slice, fault)
    return answer


def _distorted_body(answer: Answer, body: Slice, fault: Fault) -> Answer:
    size = body.content.size
    if fault.kind == "flip":
        return replace(answer, body=replace(body, flip=fault.at))
    if fault.kind == "shorter":
        length = max(0, min(body.length, fault.at - body.offset))
        return _ranged(answer, replace(body, length=length), fault.at)
    if fault.kind == "part":
        return _ranged(replace(answer, status=206), replace(body, length=min(body.length, fault.at)), size)
    if fault.kind in ("elsewhere", "lie"):
        moved = replace(body, offset=max(0, min(body.offset + (fault.at or 1), size - body.length)))
        return replace(answer, body=moved) if fault.kind == "lie" else _ranged(answer, moved, size)
    return answer


def _ranged(answer: Answer, body: Slice, size: int) -> Answer:
    if answer.status != 206:
        return replace(answer, body=body)
    told = f"bytes {body.offset}-{body.offset + body.length - 1}/{size}" if body.length else f"bytes */{size}"
    headers = {**answer.headers, "Content-Range": told}
    return replace(answer, status=206 if body.length else 416, headers=headers, body=body)
