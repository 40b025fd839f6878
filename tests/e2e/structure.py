"""Whether a JSON value has the structure that a schema describes; only what our own schemas use of JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

Json = Any  # Any: decoded JSON

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_SILENT: Final = frozenset({"$schema", "$id", "title", "description"})
_KNOWN: Final = frozenset(
    {"type", "const", "enum", "pattern", "maxLength", "minimum", "required", "properties", "additionalProperties"}
    | {"items"}
)


def faults(value: Json, schema: Json, where: str = "it") -> Iterator[str]:
    """How `value` differs from `schema`; nothing if it does not. ValueError for a keyword that is not known here."""
    if unknown := schema.keys() - _SILENT - _KNOWN:
        raise ValueError(f"the schema of {where} uses {sorted(unknown)}")
    yield from _simple(value, schema, where)
    if isinstance(value, dict):
        yield from _members(value, schema, where)
    if isinstance(value, list) and "items" in schema:
        for number, item in enumerate(value):
            yield from faults(item, schema["items"], f"{where}[{number}]")


def _simple(value: Json, schema: Json, where: str) -> Iterator[str]:
    if "type" in schema and not _is(value, schema["type"]):
        yield f"{where} is no {schema['type']}"
    if "const" in schema and value != schema["const"]:
        yield f"{where} is not {schema['const']}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is none of {schema['enum']}"
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{where} is not like {schema['pattern']}"
    if isinstance(value, str) and len(value) > schema.get("maxLength", len(value)):
        yield f"{where} is too long"
    if isinstance(value, int) and value < schema.get("minimum", value):
        yield f"{where} is below {schema['minimum']}"


def _members(value: Json, schema: Json, where: str) -> Iterator[str]:
    known = schema.get("properties", {})
    yield from (f"{where} lacks {name}" for name in schema.get("required", ()) if name not in value)
    for name, member in value.items():
        if name in known:
            yield from faults(member, known[name], f"{where}.{name}")
        elif schema.get("additionalProperties") is False:
            yield f"{where} has {name}, which is not described"


def _is(value: Json, names: str | list[str]) -> bool:
    wanted = [names] if isinstance(names, str) else names
    # In Python a bool is an int, in JSON it is not.
    return any(isinstance(value, _TYPES[name]) and (name == "boolean") == isinstance(value, bool) for name in wanted)
