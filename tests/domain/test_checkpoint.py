"""Manifests: what was written is read, and nothing else is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemgr.domain.checkpoint import (
    CheckpointManifest,
    StoredFile,
    StoredLink,
    check_layout,
    decode_manifest,
    encode_manifest,
)
from cachemgr.domain.errors import Usage

SCHEMA = Path(__file__).parents[2] / "docs/schemas/checkpoint-manifest.schema.json"
SHA = "ab" * 32
TIME = "2026-11-24T14:09:07Z"

# Any: JSON documents.
Json = Any

DIRECTORY = CheckpointManifest(
    name="checkpoint-500",
    seq=7,
    step=500,
    kind="directory",
    data="checkpoint-500~7",
    published_at=TIME,
    files=(StoredFile("model.safetensors", 5, SHA, "e1"), StoredFile("sub/ünïcode +.bin", 0, SHA)),
    links=(StoredLink("latest", "sub"), StoredLink("sub/up", "../model.safetensors")),
)
FILE = CheckpointManifest("last.ckpt", 1, None, "file", "last.ckpt", TIME, (StoredFile("last.ckpt", 9, SHA),))


def sealed(document: Json) -> bytes:
    """The document with a seal that fits, as somebody who means harm would make it."""
    document.pop("seal", None)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return json.dumps({**document, "seal": f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"}).encode()


def changed(**members: Json) -> bytes:
    return sealed({**DIRECTORY.to_json(), **members})


def with_file(**members: Json) -> bytes:
    return changed(files=[{"path": "x", "size": 5, "sha256": SHA, "etag": None, **members}], links=[])


@pytest.mark.parametrize("manifest", [DIRECTORY, FILE])
def test_what_is_encoded_is_decoded(manifest: CheckpointManifest) -> None:
    assert decode_manifest(encode_manifest(manifest)) == manifest


def test_members_from_the_future_are_let_be() -> None:
    assert decode_manifest(changed(metric={"loss": 0.5})) == DIRECTORY


@pytest.mark.parametrize("manifest", [DIRECTORY, FILE])
def test_a_manifest_fits_its_published_schema(manifest: CheckpointManifest) -> None:
    schema = json.loads(SCHEMA.read_text())
    document = json.loads(encode_manifest(manifest))
    assert misfits(document, schema) == []
    assert set(document) == set(schema["properties"]) == set(schema["required"])


@pytest.mark.parametrize(
    "members",
    [{"version": 2}, {"name": ".x"}, {"seq": 0}, {"kind": "pipe"}, {"files": []}, {"published_at": "today"}],
    ids=str,
)
def test_the_schema_refuses_what_we_refuse(members: Json) -> None:
    document = json.loads(changed(**members))
    assert misfits(document, json.loads(SCHEMA.read_text())) != []
    with pytest.raises(Usage):
        decode_manifest(json.dumps(document).encode())


@given(st.data())
def test_a_changed_byte_is_seen(data: st.DataObject) -> None:
    whole = encode_manifest(DIRECTORY)
    at = data.draw(st.integers(0, len(whole) - 1))
    bad = whole[:at] + bytes([data.draw(st.integers(0, 255))]) + whole[at + 1 :]
    with contextlib.suppress(Usage):
        assert decode_manifest(bad) == DIRECTORY  # white space, or the same byte


@given(st.binary(max_size=200))
def test_no_bytes_are_more_than_a_usage_error(data: bytes) -> None:
    with pytest.raises(Usage):
        decode_manifest(data)


HOSTILE = {
    "not an object": b"[]",
    "nested": b"[" * 100_000,
    "twice": b'{"version": 1, "version": 1}',
    "not a number": sealed({**DIRECTORY.to_json()}).replace(b'"seq": 7', b'"seq": NaN'),
    "version": changed(version=2),
    "version true": changed(version=True),
    "no name": changed(name=None),
    "name with a slash": changed(name="../x"),
    "hidden name": changed(name=".cachemgr"),
    "name of another edition": changed(name="x~2", data="x~2"),
    "data of another checkpoint": changed(data="other"),
    "data of another edition": changed(data="checkpoint-500~6"),
    "data outside": changed(data="../checkpoint-500~7"),
    "seq true": changed(seq=True),
    "seq 0": changed(seq=0),
    "seq huge": changed(seq=1 << 70),
    "step": changed(step="five"),
    "step negative": changed(step=-1),
    "kind": changed(kind="link"),
    "time": changed(published_at="2026-11-24"),
    "bytes": changed(bytes=6),
    "files": changed(files={}),
    "files of text": changed(files=["x"]),
    "no files": changed(files=[], links=[], bytes=0),
    "links": changed(links=None),
    "absolute": with_file(path="/etc/passwd"),
    "up": with_file(path="../x"),
    "up inside": with_file(path="a/../../x"),
    "dot": with_file(path="./x"),
    "empty": with_file(path=""),
    "NUL": with_file(path="a\0b"),
    "newline": with_file(path="a\nb"),
    "long": with_file(path="x" * 300),
    "surrogate": with_file(path="\ud800"),
    "size negative": with_file(size=-5),
    "size true": with_file(size=True),
    "size float": with_file(size=5.0),
    "sha256": with_file(sha256="AB" * 32),
    "etag": with_file(etag=5),
    "a file with two": sealed({**FILE.to_json(), "files": [*FILE.to_json()["files"], *DIRECTORY.to_json()["files"]]}),  # type: ignore[misc]  # JSON lists
    "a file of another name": sealed({**FILE.to_json(), "name": "other", "data": "other"}),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(Usage):
        decode_manifest(data)


def test_a_broken_seal_is_refused() -> None:
    whole = encode_manifest(DIRECTORY)
    with pytest.raises(Usage, match="seal"):
        decode_manifest(whole.replace(b"sub/", b"sud/"))


def layout(files: list[str], **links: str) -> None:
    check_layout(
        [StoredFile(path, 0, SHA) for path in files], [StoredLink(path, target) for path, target in links.items()]
    )


@pytest.mark.parametrize(
    ("files", "links"),
    [
        (["a", "b/c"], {"l": "a"}),
        (["a", "b/c"], {"l": "b"}),
        (["a", "b/c"], {"l": "b/c"}),
        (["a", "b/c/d"], {"b/l": "../a"}),
        (["a", "b/c/d"], {"b/c/l": "../../a", "x/y/l": "../../b/c"}),
        (["..a", "b"], {"l": "..a"}),
    ],
)
def test_links_within_a_checkpoint_are_kept(files: list[str], links: dict[str, str]) -> None:
    layout(files, **links)


@pytest.mark.parametrize(
    ("files", "links"),
    [
        (["a"], {"l": "/etc/passwd"}),
        (["a"], {"l": "../x"}),
        (["a"], {"l": ".."}),
        (["a"], {"l": "."}),
        (["a"], {"l": ""}),
        (["a"], {"l": "missing"}),
        (["a"], {"l": "l"}),
        (["a"], {"l": "m", "m": "a"}),
        (["a"], {"l": "a/"}),
        (["a"], {"l": "a//"}),
        (["d/a"], {"l": "d/../d/a"}),
        (["d/a"], {"d/l": "../../x"}),
        # d/l/.. is not d once d/l leads elsewhere: textually inside, in truth outside.
        (["a", "d/e/f"], {"d/e/l": "../..", "m": "d/e/l/../a"}),
        (["a"], {"a": "b"}),
        (["a"], {"a/l": "../a"}),
        (["a", "a/b"], {}),
        (["a", "a"], {}),
        (["b/c"], {"b": "c"}),
        (["a"], {"../l": "a"}),
    ],
)
def test_what_leads_or_lies_elsewhere_is_refused(files: list[str], links: dict[str, str]) -> None:
    with pytest.raises(Usage):
        layout(files, **links)


def test_two_checkpoints_are_the_same_if_they_restore_to_the_same() -> None:
    other = replace(
        DIRECTORY, seq=9, data="checkpoint-500~9", published_at="2026-11-25T00:00:00Z", files=DIRECTORY.files[::-1]
    )
    assert other.content == DIRECTORY.content
    assert replace(DIRECTORY, links=()).content != DIRECTORY.content


def misfits(value: Json, schema: Json, at: str = "$") -> list[str]:
    """Where a document does not fit a schema; knows the words that ours uses, and fails on others."""
    known = {"type", "required", "properties", "items", "pattern", "enum", "const", "minimum", "minItems", "minLength"}
    unknown = set(schema) - known - {"$schema", "$id", "title", "description"}
    assert not unknown, unknown
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "null": type(None)}
    allowed = schema.get("type", [])
    allowed = allowed if isinstance(allowed, list) else [allowed]
    checks = {
        "type": not allowed or any(isinstance(value, kinds[one]) and not isinstance(value, bool) for one in allowed),
        "const": "const" not in schema or value == schema["const"],
        "enum": "enum" not in schema or value in schema["enum"],
        "pattern": not isinstance(value, str) or re.search(schema.get("pattern", ""), value) is not None,
        "minimum": not isinstance(value, int) or value >= schema.get("minimum", value),
        "minItems": not isinstance(value, list) or len(value) >= schema.get("minItems", 0),
        "minLength": not isinstance(value, str) or len(value) >= schema.get("minLength", 0),
        "required": not isinstance(value, dict) or set(schema.get("required", [])) <= set(value),
    }
    found = [f"{at}: {name}" for name, fits in checks.items() if not fits]
    for name, inner in schema.get("properties", {}).items():
        if isinstance(value, dict) and name in value:
            found += misfits(value[name], inner, f"{at}.{name}")
    for n, item in enumerate(value if isinstance(value, list) and "items" in schema else []):
        found += misfits(item, schema["items"], f"{at}[{n}]")
    return found
