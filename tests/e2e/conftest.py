"""A worker whose hub has a model and whose S3 has a bucket: what the documents take for granted."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.hub.models import model_m20
from tests.services.hub.server import Hub, hub_server
from tests.services.s3 import S3Server, rclone_server
from tests.services.worker import Worker

SCALE = 0.01  # models of 13 MB


@pytest.fixture(scope="session")
def hub_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where generated model files are kept between tests."""
    return tmp_path_factory.mktemp("hub-files")


@pytest.fixture
def hub(hub_files: Path) -> Iterator[Hub]:
    """A hub with the models that the documents name."""
    with hub_server(hub_files) as server:
        server.add_repo("acme/m20", model_m20(SCALE))
        server.add_repo("org/name", model_m20(SCALE, seed=21))
        yield server


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3Server]:
    """An S3 with the bucket that the documents name."""
    scratch = tmp_path / "s3"
    scratch.mkdir()
    with rclone_server(scratch) as server:
        assert server.directory is not None
        (server.directory / "bucket").mkdir()
        yield server


@pytest.fixture
def worker(tmp_path: Path, hub: Hub, s3: S3Server) -> Worker:
    """A worker as a reader of the documents would have it; its directory has a checkpoint to push."""
    worker = Worker(tmp_path / "worker", hub.url)
    worker.extra.update(s3.environment())
    worker.extra["CACHEMGR_SOCKET"] = str(worker.socket)
    worker.extra["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    directory = worker.root / "out" / "checkpoint-500"
    directory.mkdir(parents=True)
    (directory / "model.safetensors").write_bytes(random.Random(1).randbytes(3_000_000))
    (directory / "trainer_state.json").write_text('{"global_step": 500}\n')
    return worker
