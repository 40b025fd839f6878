"""From a request to its response: find the route, read the body, serve, and write the answer as JSON or as events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from typing import Protocol

from aiohttp import web

from cachemgr.api.errors import Refused, document
from cachemgr.api.routing import Raw, Table
from cachemgr.api.transfer_routes import Stream
from cachemgr.library.answers import ModelState, TransferView, shallow

BODY_BYTES = 1 << 20
BODY_SECONDS = 10.0
WRITE_SECONDS = 30.0
_LIST_STEP = 200
_HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store"}


class Check(Protocol):
    """Says no to a request by raising."""

    def admit(self, request: web.BaseRequest) -> None: ...


class Responder:
    """Answers requests from a route table, once every check has let them in."""

    def __init__(self, table: Table, checks: Sequence[Check] = ()) -> None:
        self._table = table
        self._checks = checks

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """The response; raises what should become a problem document."""
        for check in self._checks:
            check.admit(request)
        route, path = self._table.find(request.method, request.rel_url.raw_path)
        body = await _body(request) if request.can_read_body else b""
        answer = await route.serve(Raw(path, request.query.items(), body, lambda: _gone(request)))
        if isinstance(answer, Stream):
            return await _stream(request, answer)
        if route.status == 204:
            return web.Response(status=204)
        if isinstance(answer, list) and len(answer) > _LIST_STEP:
            return await _long_list(request, answer)
        return web.Response(body=encoded(answer), status=route.status, headers=_HEADERS)


async def _body(request: web.BaseRequest) -> bytes:
    if (request.content_length or 0) > BODY_BYTES:
        raise _too_large()
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    try:
        if request.content.is_eof():
            return await request.read()  # it came with the header, as nearly all do
        async with asyncio.timeout(BODY_SECONDS) as deadline:
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large() from None
    except web.RequestPayloadError:
        raise Refused(400, "the body is not what its header says") from None
    except TimeoutError:
        if not deadline.expired():
            raise
        raise Refused(408, f"the body did not arrive within {BODY_SECONDS:g} s") from None


def _too_large() -> Refused:
    return Refused(413, f"a body may have {BODY_BYTES} bytes")


def _gone(request: web.BaseRequest) -> bool:
    return request.transport is None or request.transport.is_closing()


def encoded(answer: object) -> bytes:
    """An answer as JSON, its errors as whole problem documents."""
    return json.dumps(answer, separators=(",", ":"), default=_one_level).encode()


def _one_level(value: object) -> object:
    # The encoder asks for what it does not know, level by level: a third of the time of turning all into dicts first.
    if not isinstance(value, (TransferView, ModelState)) or value.error is None:
        return shallow(value)
    shown = shallow(value)
    assert isinstance(shown, dict)
    return {**shown, "error": document(value.error)}


async def _stream(request: web.BaseRequest, stream: Stream) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    async with aclosing(stream.views) as views:
        await response.prepare(request)
        async for view in views:
            if not await _written(request, response, b"event: state\ndata: " + encoded(view) + b"\n\n"):
                break
    return response


async def _long_list(request: web.BaseRequest, items: list[object]) -> web.StreamResponse:
    """Written in steps: a hundred thousand snapshots at once would hold up everyone else."""
    response = web.StreamResponse(headers=_HEADERS)
    await response.prepare(request)
    for start in range(0, len(items), _LIST_STEP):
        step = encoded(items[start : start + _LIST_STEP])
        if not await _written(request, response, (b"," if start else b"[") + step[1:-1]):
            return response
        await asyncio.sleep(0)
    await response.write(b"]")
    return response


async def _written(request: web.BaseRequest, response: web.StreamResponse, data: bytes) -> bool:
    """False if the caller has left, or has stopped reading and is given up."""
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            await response.write(data)
    except (ConnectionError, TimeoutError):
        if request.transport is not None:
            request.transport.abort()
        return False
    return True
