"""A disk and a volume, and the address of a daemon that may or may not be there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.places import Place
from tests.client.stand_in import World, serving, write_client_json


@pytest.fixture
def socket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the daemon listens, if it runs: a short path, as sockets need."""
    with tempfile.TemporaryDirectory(prefix="cm") as directory:
        path = Path(directory) / "cachemgr.sock"
        monkeypatch.setenv("CACHEMGR_SOCKET", str(path))
        yield path


@pytest.fixture
def disk(tmp_path: Path) -> Place:
    return Place.make("disk", tmp_path / "disk", "flock")


@pytest.fixture
def volume(tmp_path: Path) -> Place:
    return Place.make("volume", tmp_path / "volume", "api")


@pytest.fixture
def known(socket: Path, disk: Place, volume: Place) -> Path:
    """A daemon was here and said where its tiers are."""
    write_client_json(socket, [disk.entry(), volume.entry()])
    return socket


@pytest.fixture
def world(known: Path) -> Iterator[World]:
    """A daemon that answers."""
    world = World()
    with serving(world, known):
        yield world
