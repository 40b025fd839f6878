"""config/cachemgr.toml is complete and true."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from cachemgr.configuration.sources import ANY, leaves, variable
from cachemgr.settings import Settings, known_keys

SHIPPED = Path(__file__).parents[2] / "config" / "cachemgr.toml"
KEYS = [key for key in known_keys() if ANY not in key]


def test_it_has_every_key_and_no_other() -> None:
    written = [key for key, _ in leaves(tomllib.loads(SHIPPED.read_text()))]
    assert sorted(written) == sorted(KEYS)


def test_its_values_are_the_defaults() -> None:
    shipped = Settings.load(SHIPPED, {}, {}, root=True)
    defaults = Settings.load(None, {}, {}, root=True, system_file=Path("/nonexistent"))
    assert shipped.model_dump() == defaults.model_dump()


def test_each_key_and_section_has_its_comment_on_its_line() -> None:
    lines = [line for line in SHIPPED.read_text().splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if "  # " not in line] == []


@pytest.mark.parametrize("key", KEYS, ids=".".join)
def test_each_key_can_be_set_by_the_environment_alone(key: tuple[str, ...]) -> None:
    samples = {
        ("models",): "hf://a/b@main hf://c/d",
        ("volume", "path"): "/mnt/v",
        ("volume", "quota"): "500GB",
        ("disk", "path"): "/mnt/d",
        ("disk", "min_free"): "5GiB",
        ("api", "socket"): "/mnt/s",
        ("api", "listen"): "127.0.0.1:1",
        ("admin", "listen"): "[::1]:0",
        ("s3", "path_style"): "true",
        ("transfers", "connections"): "7",
        ("transfers", "files"): "7",
        ("run", "wait_timeout"): "1h30m",
        ("daemon", "grace"): "500ms",
        ("log", "level"): "debug",
        ("log", "format"): "json",
    }
    # What some keys need beside them.
    beside = {"CACHEMGR_VOLUME__QUOTA": "1TB", "CACHEMGR_API__TOKEN": "t0ken"}
    pair = {"CACHEMGR_S3__ACCESS_KEY_ID": "id", "CACHEMGR_S3__SECRET_ACCESS_KEY": "secret"}
    text = samples.get(key, "75%" if key[-1] in ("low", "high", "hard") else "https://host")
    if key == ("disk", "hard"):
        text = "85%"
    environ = {**beside, **(pair if key[0] == "s3" else {}), variable(key): text}
    settings = Settings.load(None, environ, {}, root=True, system_file=Path("/nonexistent"))
    assert settings.source(key) == ("env", variable(key))
    default = Settings.load(None, {}, {}, root=True, system_file=Path("/nonexistent"))
    assert _value(settings, key) != _value(default, key)


def _value(settings: Settings, key: tuple[str, ...]) -> object:
    value: object = settings
    for name in key:
        value = getattr(value, name)
    return value
