"""Names from outside never leave the directory they are joined to, and any text becomes one file name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemgr.domain.errors import Usage
from cachemgr.domain.names import check_relative, escape, unescape

BAD = [
    "",
    "/",
    "/etc/passwd",
    "..",
    "../x",
    "a/../b",
    "a//b",
    "a/",
    "./a",
    "a/.",
    "a\0b",
    "a\nb",
    "\x7f",
    "a" * 256,
    "ä" * 128,
]
BAD += ["/".join(["a" * 200] * 6), "a\ud800"]


@pytest.mark.parametrize("name", BAD, ids=range(len(BAD)))
def test_a_name_that_could_leave_or_break_a_directory_is_refused(name: str) -> None:
    with pytest.raises(Usage):
        check_relative(name)


@pytest.mark.parametrize("name", ["a", "a/b.c", ".hidden", "..a/b..", "ünï/codé", "with space", "a" * 255, "C:\\x"])
def test_a_plain_name_passes_unchanged(name: str) -> None:
    assert check_relative(name) == name


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_being_a_file_name(text: str) -> None:
    name = escape(text)
    assert unescape(name) == text
    assert "/" not in name
    assert "--" not in name
    assert not name.startswith(".")
    assert name.isascii()


@given(st.text(), st.text())
def test_two_texts_never_share_a_file_name(one: str, other: str) -> None:
    if one != other and one.isprintable() and other.isprintable():
        assert escape(one) != escape(other)
