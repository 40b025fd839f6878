"""Manifests: what a sealed list must be, and what it says of itself."""

from __future__ import annotations

from typing import Any

import pytest

from cachemgr.domain.digest import Digest, Seen
from cachemgr.domain.errors import Usage
from cachemgr.domain.manifest import Entry, Manifest, snapshot_id

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHA = Digest.sha256("a" * 64)


def manifest(*paths: str, have: frozenset[str] | None = None) -> Manifest:
    return Manifest("hf", "acme/m20", COMMIT, tuple(Entry(path, 10, SHA) for path in paths), have)


def test_the_id_names_scheme_repository_and_commit() -> None:
    assert manifest("a").id == f"hf--acme--m20--{COMMIT}"


def test_ids_of_different_artifacts_differ() -> None:
    ids = {snapshot_id("hf", name, "r") for name in ("a/b", "a--b", "a-/-b", "a%2Fb", "a-/b", "a/-b", "ab")}
    assert len(ids) == 7


@pytest.mark.parametrize("paths", [("a", "a"), ("a", "a/b"), ("x/y", "x/y/z/w")])
def test_files_that_cannot_lie_side_by_side_are_refused(paths: tuple[str, ...]) -> None:
    with pytest.raises(Usage):
        manifest(*paths)


def test_a_manifest_reads_back_from_its_own_json() -> None:
    for it in (manifest("a", "b/c"), manifest("a", "b", have=frozenset({"b"})), manifest()):
        assert Manifest.from_json(it.to_json()) == it


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": None},
        {"id": "hf--other--m20--x"},
        {"files": "a"},
        {"files": [1]},
        {"files": [{"path": "../x", "size": 1, "digest": str(SHA)}]},
        {"files": [{"path": "a", "size": -1, "digest": str(SHA)}]},
        {"files": [{"path": "a", "size": True, "digest": str(SHA)}]},
        {"files": [{"path": "a", "size": 1, "digest": "md5:1"}]},
        {"files": [{"path": "a", "size": 1, "digest": "sha256:12"}]},
        {"have": ["not-listed"]},
        {"have": [1]},
        {"revision": "../../x"},
        {"scheme": "ftp"},
    ],
)
def test_a_manifest_that_was_tampered_with_is_refused(change: dict[str, Any]) -> None:
    raw = manifest("a").to_json() | change
    with pytest.raises(Usage):
        Manifest.from_json(raw)


def test_patterns_narrow_as_hf_download_reads_them() -> None:
    whole = manifest("config.json", "model.safetensors", "onnx/model.onnx", "onnx/a/b")
    assert whole.select(["*.json"], []).have == frozenset({"config.json"})
    assert whole.select(["onnx/"], []).have == frozenset({"onnx/model.onnx", "onnx/a/b"})
    assert whole.select([], ["onnx/*"]).have == frozenset({"config.json", "model.safetensors"})
    assert whole.select(["*"], []).have is None
    with pytest.raises(Usage):
        whole.select(["*.bin"], [])


def test_a_partial_one_covers_only_what_it_has() -> None:
    whole, part = manifest("a", "b"), manifest("a", "b", have=frozenset({"a"}))
    assert whole.covers(part)
    assert not part.covers(whole)
    assert part.widened(["b"]).covers(whole)
    assert part.bytes == 10


def test_bytes_are_judged_by_size_and_by_the_digest_that_was_promised() -> None:
    seen = Seen(3, "a" * 64, "b" * 40)
    assert seen.differs_from(3, SHA) is None
    assert seen.differs_from(3, Digest.parse("git-sha1:" + "b" * 40)) is None
    assert "4 were promised" in str(seen.differs_from(4, SHA))
    assert "sha256" in str(seen.differs_from(3, Digest.sha256("c" * 64)))
    assert Seen(3, "a" * 64).differs_from(3, Digest.parse("git-sha1:" + "b" * 40)) is not None
