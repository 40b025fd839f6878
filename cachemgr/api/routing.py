"""Routes: one table from which requests are served, and the API's own description is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import unquote

from pydantic import BaseModel

from cachemgr.api.errors import Refused
from cachemgr.api.schemas import read_body, read_query
from cachemgr.domain.errors import NotFound, Usage

Q = TypeVar("Q", bound=BaseModel)
B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Raw:
    """A request as it came: path parameters, query, body, and whether its caller has gone meanwhile."""

    path: Mapping[str, str]
    query: Iterable[tuple[str, str]]
    body: bytes
    gone: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Call(Generic[Q, B]):
    """A request once its query and body were read and found good."""

    path: Mapping[str, str]
    query: Q
    body: B
    gone: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path: what it takes, what it answers (a type), and who does it."""

    method: str
    path: str
    summary: str
    query: type[BaseModel]
    body: type[BaseModel]
    answer: Any  # a type expression such as `list[Listed]`, for which there is no type before TypeForm
    status: int
    serve: Callable[[Raw], Awaitable[object]]


def route(
    name: str,
    summary: str,
    handle: Callable[[Call[Q, B]], Awaitable[object]],
    takes: tuple[type[Q], type[B]],
    answer: Any,  # as in Route
    status: int = 200,
) -> Route:
    """A route by its name (`GET /v1/df`), whose handler gets what `takes` says, already read."""
    method, path = name.split(" ")
    query, body = takes

    async def serve(raw: Raw) -> object:
        return await handle(Call(raw.path, read_query(query, raw.query), read_body(body, raw.body), raw.gone))

    return Route(method, path, summary, query, body, answer, status, serve)


class Table:
    """Finds the route of a request; `{name}` in a route's path stands for one segment, percent-encoded."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = routes
        self._plain: dict[str, dict[str, Route]] = {}
        self._patterns: dict[tuple[str, ...], dict[str, Route]] = {}
        for known in routes:
            if "{" in known.path:
                self._patterns.setdefault(tuple(known.path.split("/")), {})[known.method] = known
            else:
                self._plain.setdefault(known.path, {})[known.method] = known

    def find(self, method: str, raw_path: str) -> tuple[Route, Mapping[str, str]]:
        """The route, and its path parameters decoded; raises NotFound, Usage, or Refused with 405."""
        plain = self._plain.get(raw_path)
        if plain is not None and method in plain:
            return plain[method], {}
        segments = raw_path.split("/")
        allowed = set(plain or ())
        for pattern, methods in self._patterns.items():
            values = _match(pattern, segments)
            if values is not None and method in methods:
                return methods[method], {name: _decoded(value) for name, value in values.items()}
            if values is not None:
                allowed |= methods.keys()
        if allowed:
            raise Refused(405, "no such method here", hint=f"allowed: {', '.join(sorted(allowed))}")
        raise NotFound("no such address", hint="see `GET /openapi.json`")


def _match(pattern: tuple[str, ...], segments: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(segments):
        return None
    values = {}
    for expected, segment in zip(pattern, segments, strict=True):
        if expected.startswith("{"):
            if not segment:
                return None
            values[expected.strip("{}")] = segment
        elif expected != segment:
            return None
    return values


def _decoded(segment: str) -> str:
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise Usage("the address is not UTF-8") from None
