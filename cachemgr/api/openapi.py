"""The API's own description, made from the route table and the schemas that requests are read with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter

from cachemgr.api.errors import CONTENT_TYPE, STATUS
from cachemgr.api.routing import Route
from cachemgr.api.schemas import NoQuery, Nothing
from cachemgr.api.transfer_routes import Stream
from cachemgr.library.answers import TransferView

_Schemas = dict[tuple[str, Literal["validation", "serialization"]], dict[str, object]]
_PROBLEM: dict[str, object] = {
    "type": "object",
    "description": "RFC 9457; further members depend on the code",
    "required": ["type", "title", "status", "code", "detail", "hint"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "examples": [*STATUS, "internal"]},
        "detail": {"type": "string"},
        "hint": {"type": "string"},
    },
}


def describe(routes: Sequence[Route], version: str) -> dict[str, object]:
    """An OpenAPI 3.1 document of these routes."""
    types = {_key(kind): kind for known in routes for kind in (known.body, _answer(known)) if kind is not None}
    inputs: list[tuple[str, Literal["validation"], TypeAdapter[object]]] = [
        (key, "validation", TypeAdapter(kind)) for key, kind in types.items()
    ]
    schemas, shared = TypeAdapter.json_schemas(inputs, ref_template="#/components/schemas/{model}")
    paths: dict[str, dict[str, object]] = {}
    for known in routes:
        paths.setdefault(known.path, {})[known.method.lower()] = _operation(known, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "cachemgr", "version": version, "description": "The right model bytes, verified, in time."},
        "paths": paths,
        "components": {
            "schemas": {**shared.get("$defs", {}), "Problem": _PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "on TCP only"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(known: Route, schemas: _Schemas) -> dict[str, object]:
    operation: dict[str, object] = {
        "summary": known.summary,
        "operationId": re.sub(r"[^a-z0-9]+", "_", f"{known.method} {known.path[3:]}".lower()).strip("_"),
        "parameters": [*_path_parameters(known), *_query_parameters(known)],
        "responses": {
            str(known.status): _response(known, schemas),
            "default": _content("an error", CONTENT_TYPE, {"$ref": "#/components/schemas/Problem"}),
        },
    }
    if known.body is not Nothing:
        body = schemas[_key(known.body), "validation"]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _path_parameters(known: Route) -> list[dict[str, object]]:
    names = re.findall(r"\{(\w+)\}", known.path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameters(known: Route) -> list[dict[str, object]]:
    if known.query is NoQuery:
        return []
    schema = known.query.model_json_schema()
    required = schema.get("required", [])
    properties = schema.get("properties", {})
    return [
        {"name": name, "in": "query", "required": name in required, "schema": properties[name]} for name in properties
    ]


def _response(known: Route, schemas: _Schemas) -> dict[str, object]:
    answer = _answer(known)
    if answer is None:
        return {"description": "done"}
    kind = "text/event-stream" if known.answer is Stream else "application/json"
    return _content(known.summary, kind, schemas[_key(answer), "validation"])


def _content(description: str, kind: str, schema: object) -> dict[str, object]:
    return {"description": description, "content": {kind: {"schema": schema}}}


def _answer(known: Route) -> Any:  # a type expression, as in Route
    return TransferView if known.answer is Stream else known.answer


def _key(kind: object) -> str:
    return kind.__name__ if isinstance(kind, type) and issubclass(kind, BaseModel) else repr(kind)
