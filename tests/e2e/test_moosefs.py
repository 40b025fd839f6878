"""The whole job on a real network volume: a MooseFS that two hosts mount."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.integration.content import assert_same, seals
from tests.services.hub.server import Hub
from tests.services.netvol import network_volume
from tests.services.worker import Worker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

REF = "hf://acme/m20"
SNAPSHOT = 'import huggingface_hub; print(huggingface_hub.snapshot_download("acme/m20"))'


def test_the_whole_job_on_a_network_volume(worker: Worker, hub: Hub, tmp_path: Path) -> None:
    with network_volume(quota_bytes=300_000_000) as shared:
        worker.volume = shared.a
        worker.extra["CACHEMGR_VOLUME__QUOTA"] = "300MB"
        with worker.serving():
            brings_checks_and_reads(worker, hub)
            pushes_and_restores(worker)
        neighbour = Worker(tmp_path / "neighbour", hub.url, dict(worker.extra))
        neighbour.volume = shared.b
        neighbour.extra["CACHEMGR_SOCKET"] = str(neighbour.socket)
        shares(neighbour, hub)


def brings_checks_and_reads(worker: Worker, hub: Hub) -> None:
    pulled = worker.json("pull", REF)
    assert pulled["path"].startswith(str(worker.volume))
    assert_same(hub, "acme/m20", Path(pulled["path"]))
    volume = next(tier for tier in worker.json("df") if tier["tier"] == "volume")
    assert volume["kind"].startswith("fuse")
    assert volume["hard_bytes"] == 285_000_000
    assert volume["used_bytes"] >= pulled["bytes"]
    sent = hub.bytes("acme/*")
    promoted = worker.json("promote", REF)
    assert promoted["path"].startswith(str(worker.disk))
    assert_same(hub, "acme/m20", Path(promoted["path"]))
    assert worker.json("verify") == {"checked": 40, "bad": []}
    worker.extra["CACHEMGR_MODELS"] = REF
    read = worker.ok("run", "--", sys.executable, "-c", SNAPSHOT)
    del worker.extra["CACHEMGR_MODELS"]
    assert read.strip() == promoted["path"]
    assert hub.bytes("acme/*") == sent


def pushes_and_restores(worker: Worker) -> None:
    made = worker.root / "out" / "checkpoint-500"
    worker.ok("ckpt", "push", str(made), "s3://bucket/run")
    restored = worker.json("ckpt", "pull", "s3://bucket/run", str(worker.volume / "restored"))
    assert {path.name: path.read_bytes() for path in made.iterdir()} == {
        path.name: path.read_bytes() for path in Path(restored["path"]).iterdir()
    }


def shares(neighbour: Worker, hub: Hub) -> None:
    """Another host reads what is there, and a held model is not taken from it."""
    sent = hub.bytes("acme/*")
    promoted = neighbour.json("promote", REF)
    assert_same(hub, "acme/m20", Path(promoted["path"]))
    assert hub.bytes("acme/*") == sent
    assert neighbour.ok("path", REF, "--tier", "volume").startswith(str(neighbour.volume))
    neighbour.ok("rm", REF, "--tier", "volume", "-y")
    assert seals(neighbour.volume) == set()
    assert neighbour.json("ls", "--tier", "volume") == []
