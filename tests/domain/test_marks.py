"""Marks say when to evict, how far, and when to refuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemgr.domain.errors import Usage
from cachemgr.domain.marks import Watermarks

MARKS = Watermarks(low_bytes=70, high_bytes=80, hard_bytes=90, min_free_bytes=15)
AMPLE = 10**6

amounts = st.integers(0, 10**15)


@st.composite
def watermarks(draw: st.DrawFn) -> Watermarks:
    low, high, hard = sorted(draw(st.tuples(amounts, amounts, amounts)))
    return Watermarks(low, high, hard, draw(amounts))


@pytest.mark.parametrize(
    ("low", "high", "hard", "min_free"),
    [(80, 70, 90, 0), (70, 95, 90, 0), (-1, 1, 2, 0), (1, 2, 3, -1), (None, 2, 3, 0), (1, None, None, 0)],
)
def test_marks_out_of_order_are_refused(low: int | None, high: int | None, hard: int | None, min_free: int) -> None:
    with pytest.raises(Usage):
        Watermarks(low, high, hard, min_free)


def test_equal_marks_are_in_order() -> None:
    assert Watermarks(5, 5, 5, 0).pressure(5, AMPLE, 0) == 0


@pytest.mark.parametrize(
    ("used", "free", "incoming", "evict"),
    [
        (80, AMPLE, 0, 0),  # at high
        (81, AMPLE, 0, 11),  # above: down to low
        (50, AMPLE, 30, 0),
        (50, AMPLE, 31, 11),
        (20, 45, 30, 0),  # min_free just left
        (20, 44, 30, 1),  # one byte short
        (75, 10, 0, 5),  # below high, but too little free: both must hold, the larger decides
        (72, 10, 0, 5),
        (79, 14, 0, 9),
        (10, AMPLE, 75, 5),  # cannot get to low with it: high is enough
        (10, AMPLE, 85, 5),  # nor to high: it must fit below hard
        (10, AMPLE, 95, 15),  # does not fit at all; more than there is
    ],
)
def test_pressure(used: int, free: int, incoming: int, evict: int) -> None:
    assert MARKS.pressure(used, free, incoming) == evict


@pytest.mark.parametrize(
    ("used", "free", "incoming", "missing"),
    [(50, AMPLE, 40, 0), (50, AMPLE, 41, 1), (0, 30, 15, 0), (0, 30, 16, 1), (95, AMPLE, 0, 0), (95, AMPLE, 1, 6)],
)
def test_shortfall(used: int, free: int, incoming: int, missing: int) -> None:
    assert MARKS.shortfall(used, free, incoming) == missing


@pytest.mark.parametrize(
    ("used", "free", "excess"), [(70, 15, 0), (71, 15, 1), (75, 12, 5), (71, 10, 5), (75, None, 5), (0, None, 0)]
)
def test_excess_is_what_a_person_may_ask_to_go(used: int, free: int | None, excess: int) -> None:
    assert MARKS.excess(used, free) == excess


def test_without_marks_only_the_file_system_counts() -> None:
    marks = Watermarks.unlimited()
    assert marks.pressure(10**15, 10, 10) == 0
    assert marks.pressure(10**15, 10, 11) == 1
    assert marks.shortfall(10**15, 10, 11) == 1
    assert marks.room(10**15, 10) == 10
    assert marks.room(10**15, None) is None
    assert marks.excess(10**15, 0) == 0
    assert marks.shortfall(10**15, None, 10**15) == 0
    assert marks.pressure(10**15, None, 10**15) == 0


def test_a_file_system_that_does_not_tell_leaves_the_marks() -> None:
    assert MARKS.room(50, None) == 40
    assert MARKS.pressure(81, None, 0) == 11


@given(watermarks(), amounts, amounts, amounts)
def test_what_fits_is_taken_and_stays_below_hard(marks: Watermarks, used: int, free: int, incoming: int) -> None:
    missing = marks.shortfall(used, free, incoming)
    if missing == 0 and incoming:
        assert marks.hard_bytes is not None
        assert used + incoming <= marks.hard_bytes
        assert free - incoming >= marks.min_free_bytes
    else:
        # Exactly so much must go: with one byte less it still does not fit.
        assert marks.shortfall(used - missing, free + missing, incoming) == 0
        assert missing == 0 or marks.shortfall(used - missing + 1, free + missing - 1, incoming) == 1


@given(watermarks(), amounts, amounts, amounts)
def test_eviction_ends_the_pressure_and_begins_only_above_high(
    marks: Watermarks, used: int, free: int, incoming: int
) -> None:
    evict = marks.pressure(used, free, incoming)
    assert marks.high_bytes is not None
    assert marks.low_bytes is not None
    assert evict >= marks.shortfall(used, free, incoming)
    if used + incoming <= marks.high_bytes and free - incoming >= marks.min_free_bytes:
        assert evict == 0
    if evict and evict <= used and incoming <= marks.low_bytes:
        assert used - evict + incoming <= marks.low_bytes
        assert free + evict - incoming >= marks.min_free_bytes
        assert marks.pressure(used - evict, free + evict, incoming) == 0


@given(watermarks(), amounts, amounts, st.integers(0, 10**6))
def test_more_used_or_less_free_is_never_less_pressure(marks: Watermarks, used: int, free: int, step: int) -> None:
    assert marks.pressure(used + step, free, 0) >= marks.pressure(used, free, 0)
    assert marks.pressure(used, free, 0) >= marks.pressure(used, free + step, 0)
