"""Sizes, shares and times as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemgr.domain.errors import Usage
from cachemgr.domain.quantity import Amount, format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("1048576", 1 << 20),
        ("80GiB", 80 << 30),
        ("80 gib", 80 << 30),
        ("500GB", 500 * 10**9),
        ("1.5KiB", 1536),
        ("0.1kB", 100),
        ("7B", 7),
        (" 2TiB ", 2 << 40),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    ["", "80G", "80M", "GiB", "-1", "1e9", "80 Gi B", "80GiB!", "nan", "0x10", "٣GiB", "9000000PiB", "80%", "1_0"],
)
def test_what_is_not_a_size_is_refused_with_the_right_spelling(text: str) -> None:
    with pytest.raises(Usage) as caught:
        parse_size(text)
    assert "80GiB" in caught.value.hint


@given(st.integers(0, 2**63 - 1))
def test_a_size_survives_its_spelling(size_bytes: int) -> None:
    assert parse_size(format_size(size_bytes)) == size_bytes


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(80 << 30, "80GiB"), (500 * 10**9, "500GB"), (1024, "1KiB"), (1000, "1KB"), (7, "7B"), (0, "0B")],
)
def test_a_size_is_spelled_as_short_as_is_exact(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text


@pytest.mark.parametrize(
    ("text", "of_1000"),
    [("80%", 800), ("12.5%", 125), ("0.1 %", 1), ("100%", 1000), ("0%", 0), ("0", 0), ("2KB", 2000)],
)
def test_an_amount_is_bytes_or_a_share_of_the_whole(text: str, of_1000: int) -> None:
    assert Amount.parse(text).of(1000) == of_1000
    assert Amount.parse(str(Amount.parse(text))).of(1000) == of_1000


@pytest.mark.parametrize("text", ["80", "101%", "-1%", "%", "8 0%", "80%%", "nan%", "80%GiB"])
def test_an_amount_without_a_unit_or_above_the_whole_is_refused(text: str) -> None:
    with pytest.raises(Usage) as caught:
        Amount.parse(text)
    assert "80%" in caught.value.hint


def test_an_amount_is_never_both_and_never_neither() -> None:
    with pytest.raises(Usage):
        Amount()


def test_a_share_of_much_is_exact() -> None:
    assert Amount.parse("33.333333%").of(10**15) == 333_333_330_000_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("500ms", 0.5),
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("7d", 604_800.0),
        ("1.5h", 5400.0),
        ("1w", 604_800.0),
    ],
)
def test_times_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "s", "5 m", "-5s", "5min", "1h 30m", "5s5s", "1e3s", "inf", "٣s"])
def test_a_time_without_its_unit_is_refused(text: str) -> None:
    with pytest.raises(Usage) as caught:
        parse_duration(text)
    assert "30s" in caught.value.hint


@given(st.integers(0, 10**12))
def test_a_time_survives_its_spelling(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, abs=1e-3)
