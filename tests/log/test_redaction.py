"""No secret survives, by its name, its value or its shape."""

from __future__ import annotations

import io
import json
import logging
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemgr import log as structured
from cachemgr.redaction import Redaction

NASTY = 'pa"ss\\w/rd+ä=&'


@pytest.mark.parametrize(
    "text",
    [
        NASTY,
        f"error: {NASTY} was refused",
        json.dumps({"x": NASTY}),
        f"https://host/?key={quote(NASTY, safe='')}",
        f"https://host/{quote(NASTY)}",
    ],
)
def test_a_known_value_is_blotted_out_in_every_spelling(text: str) -> None:
    redaction = Redaction()
    redaction.add('pa"ss')
    redaction.add(NASTY)
    clean = redaction.text(text)
    assert "***" in clean
    for spelling in (NASTY, json.dumps(NASTY)[1:-1], quote(NASTY, safe=""), quote(NASTY), "w/rd"):
        assert spelling not in clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer ***"),
        ("authorization: basic dXNlcjpwYXNz", "authorization: basic ***"),
        (
            "GET https://b/k?X-Amz-Credential=AKIA%2F1&X-Amz-Date=1&X-Amz-Signature=ff00 ok",
            "GET https://b/k?X-Amz-Credential=***&X-Amz-Date=1&X-Amz-Signature=*** ok",
        ),
        ("https://cdn/x?Expires=1&Signature=ab~c-_&Policy=eyJ", "https://cdn/x?Expires=1&Signature=***&Policy=***"),
        ("redis://user:geheim@host:6379/0", "redis://user:***@host:6379/0"),
        ("redis://:geheim@host", "redis://:***@host"),
        ("token hf_abcdefghijklmnopqrst is bad", "token *** is bad"),
        ("hf://org/name@main and s3://bucket/run", "hf://org/name@main and s3://bucket/run"),
        ("http://host:80/a@b", "http://host:80/a@b"),
        ("bearer of good news", "bearer of good news"),
    ],
)
def test_what_looks_like_a_secret_is_blotted_out_and_nothing_else(text: str, clean: str) -> None:
    assert Redaction().text(text) == clean


def test_what_stands_under_a_secret_name_is_blotted_out_at_any_depth() -> None:
    fields = {
        "headers": {"Authorization": "x", "Accept": "y"},
        "jobs": [{"secret_access_key": "x", "region": "eu"}],
        "HF_TOKEN": "x",
        "tokens": 7,
        "signed": True,
        "token_expired": False,
    }
    assert Redaction().fields(fields) == {
        "headers": {"Authorization": "***", "Accept": "y"},
        "jobs": [{"secret_access_key": "***", "region": "eu"}],
        "HF_TOKEN": "***",
        "tokens": 7,
        "signed": True,
        "token_expired": False,
    }


def test_a_value_too_short_to_be_a_secret_stays() -> None:
    redaction = Redaction()
    redaction.add("test")
    redaction.add("")
    assert redaction.text("a test") == "a test"


def test_the_newest_secrets_are_kept_when_there_are_too_many() -> None:
    redaction = Redaction()
    for number in range(2000):
        redaction.add(f"secret-{number:05}")
    assert redaction.text("secret-01999 secret-01950") == "*** ***"
    assert redaction.text("secret-00001") == "secret-00001"


@given(st.text(min_size=5, max_size=60), st.text(max_size=30), st.text(max_size=30))
def test_no_added_value_survives_in_any_text(secret: str, before: str, after: str) -> None:
    redaction = Redaction()
    redaction.add(secret)
    assert secret not in redaction.text(before + secret + after).replace("***", "\0")


def test_no_line_of_the_log_holds_a_secret() -> None:
    stream = io.StringIO()
    structured.configure("debug", "json", secrets=["geheim-1"], stream=stream)
    structured.add_secret("geheim-2")
    log = logging.getLogger("cachemgr.tests")
    nested = {"k": ["geheim-1"]}
    log.info("with geheim-1", extra={"url": "http://x/?a=geheim-2", "token": "geheim-3", "nested": nested})
    with structured.bound(job="geheim-2"):
        try:
            raise ValueError("geheim-1 is wrong")
        except ValueError:
            log.exception("failed")
    assert "geheim" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 2
