"""The API's description is complete and true."""

from __future__ import annotations

import re
from typing import Any

from tests.api.conftest import World

Document = dict[str, Any]  # a JSON document whose shape is what is tested


async def fetch(world: World) -> Document:
    """The description, as served."""
    async with world.unix.get("/openapi.json") as response:
        assert response.status == 200
        document: Document = await response.json()
        return document


async def test_every_route_is_documented_and_nothing_else(world: World) -> None:
    document = await fetch(world)
    documented = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert documented == {(route.method, route.path) for route in world.routes.table.routes}


async def test_every_parameter_body_and_answer_has_its_schema(world: World) -> None:
    document = await fetch(world)
    for route in world.routes.table.routes:
        operation = document["paths"][route.path][route.method.lower()]
        names = {(parameter["in"], parameter["name"]) for parameter in operation["parameters"]}
        assert names == {("path", name) for name in re.findall(r"\{(\w+)\}", route.path)} | {
            ("query", name) for name in route.query.model_fields
        }
        assert ("requestBody" in operation) == bool(route.body.model_fields)
        answer = operation["responses"][str(route.status)]
        assert ("content" in answer) == (route.status != 204)
        assert operation["responses"]["default"]["content"]["application/problem+json"]


async def test_every_reference_leads_somewhere_and_every_name_is_unique(world: World) -> None:
    document = await fetch(world)
    schemas = document["components"]["schemas"]
    for target in re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(document)):
        assert target in schemas
    operations = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(operations) == len(set(operations))


async def test_the_shapes_are_those_that_callers_rely_on(world: World) -> None:
    schemas = (await fetch(world))["components"]["schemas"]
    assert set(schemas["AcquireBody"]["properties"]) == {"ref", "wait", "hold_seconds", "tier", "max_age", "timeout"}
    assert schemas["AcquireBody"]["required"] == ["ref"]
    assert schemas["AcquireBody"]["additionalProperties"] is False
    assert set(schemas["Answer"]["properties"]) == {
        "ref", "id", "revision", "path", "tier", "hold", "expires_at", "resolved_at", "stale"
    }  # fmt: skip
    assert {"kind", "state", "done_bytes", "total_bytes", "result", "error"} <= set(
        schemas["TransferView"]["properties"]
    )
