"""Errors as problem documents (RFC 9457): the one place where a code meets an HTTP status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web

from cachemgr.domain.errors import Usage
from cachemgr.library.answers import foreseen, problem

CONTENT_TYPE = "application/problem+json"

STATUS: Mapping[str, int] = {
    "usage": 400,
    "unauthorized": 401,
    "not_found": 404,
    "held": 409,
    "verification_failed": 502,
    "origin_unavailable": 503,
    "timeout": 504,
    "no_space": 507,
}


class Refused(Usage):
    """A request that HTTP itself has a status for: too large, too slow, no such method."""

    default_hint = "see `GET /openapi.json`"

    def __init__(self, status: int, detail: str, *, hint: str | None = None) -> None:
        super().__init__(detail, hint=hint)
        self.status = status


def document(stated: Mapping[str, object], status: int | None = None) -> dict[str, object]:
    """The problem document of an error as the library states it (`{code, detail, hint, ...}`)."""
    code = str(stated["code"])
    title = code.replace("_", " ").capitalize()
    status = STATUS.get(code, 500) if status is None else status
    return {**stated, "type": f"urn:cachemgr:problem:{code}", "title": title, "status": status}


def respond(error: BaseException) -> web.Response:
    """The response that tells a caller of an error; an unforeseen one is told in general words only."""
    known = foreseen(error)
    body = document(problem(error), known.status if isinstance(known, Refused) else None)
    status = HTTPStatus(int(str(body["status"])))
    response = web.Response(
        status=status,
        body=json.dumps(body).encode(),
        headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"},
    )
    if status is HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="cachemgr"'
    return response
