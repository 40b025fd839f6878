"""Connections that cannot be used up: a deadline for headers, an end to idling, a cap on how many, no echo of input.

aiohttp's own server has none of these, and its text for a malformed request repeats the request line.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from cachemgr.api.errors import CONTENT_TYPE, Refused, document, respond
from cachemgr.domain.errors import Held
from cachemgr.library.answers import foreseen, problem

log = logging.getLogger(__name__)

_TURNED_AWAY_SECONDS = 1.0

Answering = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server bears: connections at once, and seconds for a request's header and between requests."""

    connections: int = 256
    header_seconds: float = 10.0
    idle_seconds: float = 75.0


DEFAULT_LIMITS = Limits()


class Connection(web.RequestHandler):
    """One connection, watched whenever no request of it is being answered.

    Its timer ticks slowly and looks at the clock: to set one for each request would cost more than to serve it.
    """

    __slots__ = ("_clock", "_due", "_limits", "_reading", "_server", "_serving", "_timer", "_turned_away")

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        # Compressed bodies are not accepted: a few KiB of them can unfold to gigabytes.
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # None turns it off, which the annotation does not say
            keepalive_timeout=limits.idle_seconds,
            lingering_time=1.0,
            auto_decompress=False,
        )
        self._server = server
        self._limits = limits
        self._clock = loop
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._reading = False
        self._serving = False
        self._turned_away: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve it, or say that there are too many already."""
        assert isinstance(transport, asyncio.WriteTransport)
        if len(self._server.connections) >= self._limits.connections:
            self._turn_away(transport)
            return
        super().connection_made(transport)
        self._reading = True
        self._watch(self._limits.header_seconds)

    def data_received(self, data: bytes) -> None:
        """Take in bytes; the first of a header start its clock, further ones do not move it."""
        if self._turned_away is not None:
            return
        if data and not self._serving and not self._reading:
            self._reading = True
            self._watch(self._limits.header_seconds)
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget it."""
        if self._timer is not None:
            self._timer.cancel()
        self._server.turned_away.discard(self)
        super().connection_lost(exc)

    def serving(self) -> None:
        """A request of it is being answered: that may take as long as it takes."""
        self._serving, self._reading = True, False
        self._due = None

    def resting(self) -> None:
        """The answer is on its way out: until the next request, its caller has so long to take it."""
        self._serving = False
        if self.transport is not None:
            self._watch(self._limits.idle_seconds)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is not HTTP, in words of our own."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        response = respond(Refused(400, "that is not a well-formed HTTP request") if status == 400 else Exception())
        response.force_close()
        return response

    def log_exception(self, *args: object, **kwargs: object) -> None:
        """Say that a connection broke; the text of such an error may repeat what a caller sent."""
        log.error("connection failed", extra={"error": type(kwargs.get("exc_info")).__name__})

    def _turn_away(self, transport: asyncio.WriteTransport) -> None:
        # Closed at once, with its request unread, it would see a reset and not our words.
        self._turned_away = transport
        if len(self._server.turned_away) >= self._limits.connections:
            transport.abort()
            return
        self._server.turned_away.add(self)
        transport.write(_too_many(self._limits.connections))
        transport.write_eof()
        self._watch(_TURNED_AWAY_SECONDS)

    def _watch(self, seconds: float) -> None:
        self._due = self._clock.time() + seconds
        if self._timer is None:
            self._timer = self._clock.call_later(self._limits.header_seconds / 4, self._tick)

    def _tick(self) -> None:
        if self._due is None or self._clock.time() < self._due:
            self._timer = self._clock.call_later(self._limits.header_seconds / 4, self._tick)
            return
        self._timer = None
        transport = self._turned_away or self.transport
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()  # `close` would wait for a peer that may never read


class Server(web.Server):
    """Makes connections, and is the boundary at which a request's error becomes its answer."""

    def __init__(self, answer: Answering, limits: Limits) -> None:
        super().__init__(self._serve, handler_cancellation=True)
        self._answer = answer
        self._limits = limits
        self.turned_away: set[Connection] = set()
        self._inside: set[asyncio.Task[object]] = set()

    def __call__(self) -> Connection:
        """The protocol of one new connection."""
        return Connection(self, asyncio.get_running_loop(), self._limits)

    async def settle(self, grace_seconds: float) -> None:
        """Let requests finish for so long, then cancel the rest and wait for them."""
        if self._inside:
            await asyncio.wait(self._inside, timeout=grace_seconds)
        for task in (rest := [*self._inside]):
            task.cancel()
        if rest:
            await asyncio.wait(rest)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        connection, task = request.protocol, asyncio.current_task()
        assert isinstance(connection, Connection)
        assert task is not None
        self._inside.add(task)
        connection.serving()
        try:
            return await self._answer(request)
        except Exception as error:  # noqa: BLE001 - the one boundary of a request
            return _refusal(request, error)
        finally:
            connection.resting()
            self._inside.discard(task)


def _refusal(request: web.BaseRequest, error: Exception) -> web.StreamResponse:
    if foreseen(error) is None:
        # Not the address: it is the caller's text, and may carry what is in no log.
        log.error("request failed", exc_info=error, extra={"method": request.method})
    response = respond(error)
    if isinstance(error, Refused):
        response.force_close()
    return response


def _too_many(limit: int) -> bytes:
    error = Held(f"{limit} connections are open already", hint="close some, or ask again later")
    body = json.dumps(document(problem(error), 503)).encode()
    head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: {CONTENT_TYPE}\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
