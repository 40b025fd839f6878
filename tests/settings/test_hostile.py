"""Whatever stands in a file or in the environment, it is either configuration or one clear error."""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemgr.configuration.sources import ANY, variable
from cachemgr.domain.errors import Usage
from cachemgr.settings import Settings, known_keys
from tests.settings.loading import HOME, NOWHERE, load

KEYS = [tuple("bucket" if part == ANY else part for part in key) for key in known_keys()]
SCALARS = st.one_of(
    st.text(max_size=40),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.dates(),
    st.just(datetime.time()),
    st.sampled_from(
        ["80%", "-1%", "5GiB", "1e400", "\0", "/\0", "~", "//", "[::1]:0", ":0", "[:]:1", "http://[", "http://a:b"]
    ),
    st.sampled_from(
        ["\ud800", "٣%", "9" * 5000, "9" * 5000 + "GiB", "hf://", "hf://a/b@" + "x" * 500, "/" + "x" * 5000]
    ),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
Given = dict[tuple[str, ...], Any]  # Any: that is the point


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4))
def test_no_value_of_any_key_is_more_than_an_error(values: Given) -> None:
    flags = {".".join(key): value for key, value in values.items()}
    with contextlib.suppress(Usage):
        load(flags=flags).show()


@given(st.dictionaries(st.sampled_from(KEYS), st.text(max_size=30) | SCALARS.map(str), max_size=4))
def test_no_variable_is_more_than_an_error(values: dict[tuple[str, ...], str]) -> None:
    with contextlib.suppress(Usage):
        load(environ={variable(key): value for key, value in values.items()}).show()


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_name_of_a_variable_is_more_than_an_error(name: str, value: str) -> None:
    with contextlib.suppress(Usage):
        load(environ={f"CACHEMGR_{name}": value})


@pytest.mark.parametrize(
    "text",
    [
        "[disk]\nlow = " + "9" * 5000,
        "a = " + "[" * 5000,
        "[" + ".".join("a" * 1) * 3 + "]",
        "[s3.stores]\nx = 1",
        "\0",
        "a" * 10**6,
    ],
)
def test_no_file_is_more_than_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(Usage) as caught:
        load(text, tmp_path=tmp_path)
    assert len(caught.value.detail) < 1000
    assert caught.value.fields["file"]


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="cannot be read: Is a directory"):
        Settings.load(tmp_path, HOME, {}, system_file=NOWHERE)
