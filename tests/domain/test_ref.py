"""Refs: what a caller may type, and what each form means."""

from __future__ import annotations

import pytest

from cachemgr.domain.errors import Usage
from cachemgr.domain.ref import Ref

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "name", "revision", "path"),
    [
        ("hf://acme/m20", "acme/m20", "main", None),
        ("hf://gpt2", "gpt2", "main", None),
        ("hf://acme/m20@v1.0", "acme/m20", "v1.0", None),
        (f"hf://acme/m20@{COMMIT}", "acme/m20", COMMIT, None),
        ("hf://acme/m20@main/config.json", "acme/m20", "main", "config.json"),
        ("hf://acme/m20/onnx/model.onnx", "acme/m20", "main", "onnx/model.onnx"),
        ("hf://acme/m20@refs/pr/7", "acme/m20", "refs/pr/7", None),
        ("hf://acme/m20@refs/pr/7/a/b", "acme/m20", "refs/pr/7", "a/b"),
        ("hf://acme/m20@feature%2Fx/a", "acme/m20", "feature/x", "a"),
    ],
)
def test_each_form_is_read_as_documented(text: str, name: str, revision: str, path: str | None) -> None:
    ref = Ref.parse(text)
    assert (ref.scheme, ref.name, ref.revision, ref.path) == ("hf", name, revision, path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "acme/m20",
        "hf://",
        "hf:///",
        "hf://acme/",
        "hf:///m20",
        "hf://acme/m20@",
        "hf://a/b@../../x",
        "hf://a/b@main/../../x",
        "hf://a/b@main//etc/passwd",
        "hf://../../etc",
        "hf://a/..",
        "hf://a/b@-x",
        "hf://a/b@x y",
        "hf://a/b@a\0b",
        "hf://a--b/c",
        "hf://a/b@refs/../x",
        "hf://" + "a" * 200 + "/b",
        "ftp://a/b",
        "hf://a/b@main@other",
    ],
)
def test_what_is_no_ref_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(Usage) as caught:
        Ref.parse(text)
    assert caught.value.hint


def test_without_a_revision_it_is_main_and_has_the_same_key() -> None:
    assert Ref.parse("hf://acme/m20").key == Ref.parse("hf://acme/m20@main").key


def test_only_a_full_commit_is_fixed() -> None:
    assert Ref.parse(f"hf://a/b@{COMMIT}").fixed
    assert not Ref.parse(f"hf://a/b@{COMMIT[:12]}").fixed
    assert not Ref.parse("hf://a/b").fixed


def test_a_ref_reads_back_from_its_own_text() -> None:
    for text in ("hf://a/b", "hf://gpt2@v1", f"hf://a/b@{COMMIT}/x/y", "hf://a/b@refs/pr/1"):
        assert Ref.parse(str(Ref.parse(text))) == Ref.parse(text)


def test_the_key_of_different_refs_differs() -> None:
    texts = ["hf://a/b", "hf://a_/b", "hf://a/b@v1", "hf://a/b@v-1", "hf://ab", "hf://a/b@a%2Fb", "hf://a/b@a-b"]
    keys = {Ref.parse(text).key for text in texts}
    assert len(keys) == len(texts)
    assert all("/" not in key for key in keys)
