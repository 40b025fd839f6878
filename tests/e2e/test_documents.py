"""The documents are true: what they name exists, and what exists is named."""

from __future__ import annotations

import ast
import json
import re
from html import unescape
from pathlib import Path

import pytest

from cachemgr.api.openapi import describe
from cachemgr.api.routes import Routes
from cachemgr.domain.digest import Digest
from cachemgr.domain.manifest import Entry, Manifest
from cachemgr.tiers.layout import Layout
from cachemgr.tiers.seals import Origins, Seal
from tests.e2e.documents import DOCUMENTS, ROOT, blocks
from tests.e2e.structure import faults

ARCHITECTURE = ROOT / "docs" / "architecture.md"
API = ROOT / "docs" / "api.md"
SCHEMA = json.loads((ROOT / "docs/schemas/snapshot-manifest.schema.json").read_text())
# Commands, Python and the image are run by test_readme.py, queries by test_prometheus.py; JSON is read below.
TESTED = {"console", "python", "dockerfile", "promql", "json", ""}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_block_is_of_a_kind_that_nothing_runs(document: Path) -> None:
    assert [str(block) for block in blocks(document) if block.language not in TESTED] == []
    for block in blocks(document, "json"):
        json.loads(block.text)


def test_every_test_that_a_promise_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", ARCHITECTURE.read_text())
    assert len(named) > 20
    missing = []
    for file, test in named:
        path = ROOT / file
        nodes = ast.walk(ast.parse(path.read_text())) if path.exists() else ()
        names = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        missing += [f"{file}::{test}"] if not path.exists() or (test and test not in names) else []
    assert missing == []


def test_every_room_is_described_and_no_other() -> None:
    table = _section(ARCHITECTURE, "The rooms")
    described = {room for row in table.splitlines() if row.startswith("| `") for room in _named(row.split("|")[1])}
    there = {path.stem for path in (ROOT / "cachemgr").iterdir() if _is_room(path)}
    assert described == there


def test_every_directory_of_a_tier_is_described() -> None:
    text = _section(ARCHITECTURE, "On a tier")
    for path in Layout(Path("/tier")).directories[1:]:
        assert re.search(rf"\b{path.name}/", text), f"{path.name}/ is not described"


def test_the_picture_is_made_of_its_source() -> None:
    source, picture = ((ROOT / "docs" / f"architecture.{kind}").read_text() for kind in ("dot", "svg"))
    drawn = {_title(found) for found in re.findall(r"<title>(.*?)</title>", picture)}
    edges = {f"{a}->{b}" for a, b in re.findall(r"^  (\w+)(?::\w+)? -> (\w+)", source, re.MULTILINE)}
    nodes = set(re.findall(r"^  (\w+)\s+\[pos=", source, re.MULTILINE))
    assert drawn == edges | nodes | {"cachemgr"}
    words = {word for label in re.findall(r'label="([^"]+)"', source) for word in re.split(r"\\[nl]", label) if word}
    written = unescape(picture)
    assert [word for word in words if word not in written] == []


def test_every_route_is_in_its_table_and_no_other() -> None:
    rows = set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", API.read_text(), re.MULTILINE))
    # No route is asked here: nobody stands behind the table.
    nobody = object()
    routes = Routes(nobody, nobody, nobody, nobody, nobody, "0").table.routes  # type: ignore[arg-type]  # as said
    described = describe(routes, "0")["paths"]
    assert isinstance(described, dict)
    assert rows == {f"{method.upper()} {path}" for path, methods in described.items() for method in methods}


def test_the_members_of_each_request_are_in_its_row() -> None:
    nobody = object()
    routes = Routes(nobody, nobody, nobody, nobody, nobody, "0").table.routes  # type: ignore[arg-type]  # as above
    for route in routes:
        row = next(
            line for line in API.read_text().splitlines() if line.startswith(f"| `{route.method} {route.path}` |")
        )
        members = {*route.body.model_fields, *route.query.model_fields}
        assert set(re.findall(r"\w+", row.split("|")[2].replace("s3://bucket/run", ""))) == members, row


def _seal(**changes: object) -> Seal:
    sha256 = Digest.sha256("0" * 64)
    files = (Entry("a/config.json", 2, sha256, "1" * 40), Entry("w.safetensors", 9, sha256, None))
    have = frozenset({"w.safetensors"}) if changes.get("filtered") else None
    origins = Origins(frozenset({"w.safetensors"}), frozenset({"a/config.json"}), strangers=True)
    manifest = Manifest("hf", "acme/m20", "2" * 40, files, have)
    return Seal(manifest, 1.5, origins if changes.get("adopted") else Origins())


@pytest.mark.parametrize("changes", [{}, {"filtered": True}, {"adopted": True}], ids=["whole", "filtered", "adopted"])
def test_a_seal_has_the_structure_of_its_schema(changes: dict[str, object]) -> None:
    document = json.loads(json.dumps(_seal(**changes).to_json()))
    assert list(faults(document, SCHEMA)) == []
    assert set(SCHEMA["required"]) == set(document) == set(SCHEMA["properties"])


@pytest.mark.parametrize(
    ("member", "value"),
    [("version", 2), ("id", "../x"), ("files", [{}]), ("have", "all"), ("adopted", 1), ("sealed_at", None), ("new", 1)],
)
def test_the_schema_refuses_what_is_no_seal(member: str, value: object) -> None:
    assert list(faults({**_seal().to_json(), member: value}, SCHEMA)) != []


def _section(document: Path, title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", document.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{document.name} has no section {title}"
    return found[1]


def _named(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def _is_room(path: Path) -> bool:
    return path.name not in ("__init__.py", "__pycache__") and (path.suffix == ".py" or path.is_dir())


def _title(drawn: str) -> str:
    """What an element of the picture is called, without the side on which an edge ends."""
    return re.sub(r":[nesw]+", "", unescape(drawn).replace("&#45;", "-"))
