"""A command line whose daemon is the API as it is served, over a world that the test makes."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cachemgr.cli.app import run
from tests.client.stand_in import World, serving

_FOREIGN = ("CACHEMGR_", "HF_", "HUGGING", "AWS_", "BUCKET_", "RUNPOD_", "XDG_")


@dataclass(frozen=True)
class Said:
    """What a command said where, and its exit code."""

    out: str
    err: str
    code: int

    @property
    def json(self) -> Any:  # Any: whatever the command answers
        """Its one JSON value."""
        return json.loads(self.out)


Cli = Callable[..., Said]


@pytest.fixture
def socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Where the daemon listens, if it runs; nothing else is configured."""
    for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        monkeypatch.delenv(name)
    with tempfile.TemporaryDirectory(prefix="cm") as directory:
        path = Path(directory) / "cachemgr.sock"
        monkeypatch.setenv("CACHEMGR_SOCKET", str(path))
        monkeypatch.setenv("HOME", str(tmp_path))
        yield path


@pytest.fixture
def world(socket: Path) -> Iterator[World]:
    """A daemon that answers."""
    world = World()
    with serving(world, socket):
        yield world


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], socket: Path) -> Cli:
    """Runs one command line in this process."""

    def run_it(*argv: str) -> Said:
        capfd.readouterr()
        code = run(argv)
        out, err = capfd.readouterr()
        return Said(out, err, code)

    return run_it
