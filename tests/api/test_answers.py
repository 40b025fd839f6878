"""Answers: times and values as JSON, errors as callers read them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cachemgr.domain.digest import Digest
from cachemgr.domain.errors import NoSpace, VerificationFailed
from cachemgr.library.answers import BadFile, Verified, foreseen, plain, problem, timestamp


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1767323045.5, "2026-01-02T03:04:05.500Z"),
        (-5, "1970-01-01T00:00:00.000Z"),
        (1e30, "9999-12-31T23:59:59.000Z"),
        (float("nan"), "1970-01-01T00:00:00.000Z"),
        (float("inf"), "9999-12-31T23:59:59.000Z"),
    ],
)
def test_any_time_can_be_written(seconds: float, text: str) -> None:
    assert timestamp(seconds) == text


def test_answers_are_plain_json_all_the_way_down() -> None:
    answer = Verified(2, (BadFile("disk", "id", "a/b", "short"),))
    assert plain([answer]) == [{"checked": 2, "bad": [{"tier": "disk", "id": "id", "file": "a/b", "reason": "short"}]}]
    odd = {"path": Path("/x"), 3: Digest("etag", "e"), "set": {"b", "a"}, "none": None}
    assert json.loads(json.dumps(plain(odd))) == {
        "path": "/x", "3": {"algorithm": "etag", "value": "e"}, "set": ["a", "b"], "none": None
    }  # fmt: skip


def test_a_problem_carries_its_numbers_and_no_field_hides_the_code() -> None:
    error = NoSpace("full", needed_bytes=2, free_bytes=1, evictable_bytes=0, tier="disk")
    assert problem(error) == {
        "code": "no_space",
        "detail": "full",
        "hint": "release holds or pins, or raise disk.hard",
        "needed_bytes": 2,
        "free_bytes": 1,
        "evictable_bytes": 0,
        "tier": "disk",
    }
    assert problem(VerificationFailed("bad", code="mine"))["code"] == "verification_failed"


def test_an_unforeseen_error_says_nothing_of_its_own() -> None:
    stated = problem(OSError(5, "secret", "/secret"))
    assert stated["code"] == "internal"
    assert "secret" not in str(stated)
    assert foreseen(ExceptionGroup("x", [ValueError()])) is None
