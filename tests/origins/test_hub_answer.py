"""What the client reports is trusted in nothing; what people read carries no secret."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemgr.domain.errors import CachemgrError, NotFound, OriginUnavailable, Unauthorized
from cachemgr.domain.ref import Ref
from cachemgr.origins.hub_answer import HubAnswer
from cachemgr.origins.hub_fault import HubFault, Question, redacted

REF = Ref.parse("hf://acme/m")
TOKEN = "hf_" + "t" * 34
COMMIT = "a" * 40
FILE: dict[str, object] = {"path": "a", "size": 1, "git_sha1": "0" * 40, "large": None}


def answer() -> HubAnswer:
    return HubAnswer(REF, "http://hub", None)


def test_an_answer_that_stops_in_the_middle_is_no_manifest() -> None:
    lines: list[dict[str, object]] = [{"token": None}, {"commit": COMMIT}, {"file": FILE}, {"done": True}]
    for count in range(len(lines)):
        partial = answer()
        for line in lines[:count]:
            partial.take(line)
        with pytest.raises(OriginUnavailable, match="stopped in the middle"):
            partial.manifest()
    whole = answer()
    for line in lines:
        whole.take(line)
    assert [entry.path for entry in whole.manifest().files] == ["a"]


def test_a_file_before_its_commit_is_refused() -> None:
    with pytest.raises(OriginUnavailable, match="not understood"):
        answer().take({"file": FILE})


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(
    ["token", "commit", "file", "error", "done", "path", "size", "git_sha1", "large", "kind", "status"]
)


@given(
    st.lists(st.dictionaries(KEYS, ANY | st.dictionaries(KEYS, ANY, max_size=5), min_size=1, max_size=2), max_size=4)
)
def test_whatever_arrives_is_a_manifest_or_an_error_of_ours(lines: list[dict[str, object]]) -> None:
    read = answer()
    with suppress(CachemgrError):
        read.take({"commit": COMMIT})
        for line in lines:
            read.take(line)
        assert read.manifest().revision == COMMIT


@pytest.mark.parametrize("status", [401, 404])
def test_the_401_that_the_library_takes_for_a_missing_repository(status: int) -> None:
    fault = HubFault("no_repo", status, "", None)
    with_token, without = Question(REF, "https://hub", True), Question(REF, "https://hub", False)
    assert type(fault.for_people(without)) is NotFound
    assert type(fault.for_people(with_token)) is (Unauthorized if status == 401 else NotFound)


def test_a_missing_repository_and_an_unwelcome_guest_read_differently() -> None:
    assert "wants a token" in str(HubFault("status", 401, "", None).for_people(Question(REF, "https://hub", False)))
    assert "does not know" in str(HubFault("status", 404, "", None).for_people(Question(REF, "https://hub", False)))


@pytest.mark.parametrize(
    "text",
    [
        f"bad token {TOKEN}!",
        "see https://cdn.example/x/y?Expires=1&Signature=topsecret&Key-Pair-Id=K for more",
        "Authorization: Bearer topsecret.topsecret",
        "'hf_topsecrettopsecret'",
    ],
)
def test_secrets_are_redacted(text: str) -> None:
    shown = redacted(text, TOKEN)
    assert TOKEN not in shown
    assert "topsecret" not in shown


def test_texts_stay_on_one_short_line() -> None:
    assert "\n" not in redacted("a\nb\r\nc", None)
    assert len(redacted("x " * 5000, None)) < 400
