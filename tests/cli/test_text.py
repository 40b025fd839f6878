"""Sizes, times and tables are short, right and never wrapped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemgr.cli import text
from cachemgr.cli.output import printable
from cachemgr.cli.words import summary


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (None, "-"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_949, "9.9 kB"),
        (9_950, "10 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (1_300_000_000, "1.3 GB"),
        (10**18, "1000 PB"),
    ],
)
def test_a_size_has_one_unit_and_two_or_three_digits(count: int | None, said: str) -> None:
    assert text.size(count) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "0.0 s"), (0.44, "0.4 s"), (12.4, "12 s"), (185, "3 min 5 s"), (7800, "2 h 10 min"), (90_000, "1 d 1 h")],
)
def test_a_duration_has_two_units_at_most(seconds: float, said: str) -> None:
    assert text.duration(seconds) == said


@pytest.mark.parametrize(
    ("before", "said"),
    [(0, "now"), (20, "20 s ago"), (300, "5 min ago"), (7200, "2 h ago"), (3 * 86_400, "3 d ago"), (-9, "now")],
)
def test_how_long_ago(before: float, said: str) -> None:
    then = datetime.now(UTC) - timedelta(seconds=before + 0.5)
    assert text.ago(then.isoformat().replace("+00:00", "Z")) == said


def test_never_is_longest_ago() -> None:
    assert text.ago(None) == "never"
    assert text.age_seconds(None) > 1e12


@given(st.text(st.characters(exclude_characters="…"), max_size=60), st.integers(1, 70))
def test_what_is_shortened_fits_and_keeps_both_ends(word: str, width: int) -> None:
    short = text.shortened(word, width)
    assert len(short) <= width
    assert short == word or (word.startswith(short.split("…")[0]) and word.endswith(short.split("…")[-1]))


CELLS = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=90)


@given(st.lists(st.tuples(CELLS, st.from_regex(r"[a-z]{1,8}", fullmatch=True)), max_size=5))
def test_a_table_fits_its_terminal_and_its_columns_line_up(rows: list[tuple[str, str]]) -> None:
    lines = text.table(("NAME", "KIND"), rows, 40)
    assert len(lines) == len(rows) + 1
    assert all(len(line) <= 40 for line in lines)
    start = lines[0].index("KIND")
    assert all(line[start:].strip() == row[1] for line, row in zip(lines[1:], rows, strict=True))


def test_a_table_that_is_no_terminals_is_never_cut() -> None:
    name = "hf://acme/" + "x" * 300
    assert name in text.table(("NAME", "SIZE"), [(name, "1 B")], None, right="SIZE")[1]


def test_what_moves_a_cursor_is_not_printed() -> None:
    assert printable("a\x1b[2Jb\rc\x9bd\x00é\n") == "a�[2Jb�c�d�é\n"


def test_a_promotion_tells_what_it_moved_although_nothing_was_fetched() -> None:
    view = {"kind": "promote", "state": "done", "total_bytes": 10**9, "done_bytes": 10**9, "files": 20, "seconds": 4.0}
    result = {"bytes": 10**9, "files": 20, "fetched_bytes": 0, "reused_bytes": 10**9}
    assert summary({**view, "result": result}) == "1.0 GB in 20 files, 4.0 s, 250 MB/s"
    assert summary({**view, "done_bytes": 0, "result": result}) == "1.0 GB in 20 files, was here already"
    some = {**result, "fetched_bytes": 4 * 10**8, "reused_bytes": 6 * 10**8}
    told = summary({**view, "kind": "pull", "done_bytes": 4 * 10**8, "result": some})
    assert told == "1.0 GB in 20 files, 600 MB of it was here already, 4.0 s, 100 MB/s"
