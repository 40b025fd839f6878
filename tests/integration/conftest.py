"""A hub and a worker for each test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.services.disk import sized_disk
from tests.services.hub.server import Hub, hub_server
from tests.services.parts import require
from tests.services.worker import Worker


@pytest.fixture(scope="session")
def hub_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where generated model files are kept between tests."""
    return tmp_path_factory.mktemp("hub-files")


@pytest.fixture
def hub(hub_files: Path) -> Iterator[Hub]:
    """A hub that serves nothing yet."""
    with hub_server(hub_files) as server:
        yield server


@pytest.fixture
def worker(tmp_path: Path, hub: Hub) -> Worker:
    """A worker with an empty volume and an empty disk, whose hub is ours."""
    return Worker(tmp_path / "worker", hub.url)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 64 MiB as the container disk."""
    with sized_disk(64 << 20) as path:
        yield path


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], None]]:
    """Makes a directory read-only, as a mount does it (mode bits do not stop root)."""
    require("bind mounts", os.geteuid() == 0, "root is needed to mount")
    mounted: list[Path] = []

    def make(path: Path) -> None:
        subprocess.run(["mount", "--bind", path, path], check=True)
        mounted.append(path)
        subprocess.run(["mount", "-o", "remount,ro,bind", path], check=True)

    yield make
    for path in mounted:
        subprocess.run(["umount", "-l", path], check=True)
