"""The client in a handler, beside a real daemon: what it is told, what it holds, and what it finds by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachemgr import client
from tests.integration.content import assert_same
from tests.services.hub.models import model_m20
from tests.services.hub.server import Hub
from tests.services.worker import Worker

pytestmark = [pytest.mark.integration]

REF = "hf://acme/m20"


@pytest.fixture
def reader(worker: Worker, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker that serves, in whose environment this process reads."""
    hub.add_repo("acme/m20", model_m20(0.001))
    monkeypatch.setenv("CACHEMGR_SOCKET", str(worker.socket))
    with worker.serving():
        yield worker


def test_a_model_comes_is_held_and_can_leave_again(reader: Worker, hub: Hub) -> None:
    with pytest.raises(client.NotFound):
        client.path(REF)
    with client.model(REF, deadline=100) as path:
        assert path.tier == "disk"
        assert_same(hub, "acme/m20", Path(path))
        assert client.path(REF) == path == reader.ok("path", REF).strip()
        assert reader.fails(1, "rm", REF, "--tier", "disk", "-y")["code"] == "held"
        assert reader.json("evict", "--bytes", "1GB")["ids"] == []
    assert reader.json("evict", "--bytes", "1GB")["ids"] == [path.id]
    assert client.path(REF).tier == "volume"


def test_a_hold_on_the_volume_keeps_the_model_there(reader: Worker) -> None:
    reader.ok("pull", REF)
    with client.model(REF, tier="volume", deadline=100) as path:
        assert path.startswith(str(reader.volume))
        assert reader.fails(1, "rm", REF, "--tier", "volume", "-y")["code"] == "held"
    reader.ok("rm", REF, "--tier", "volume", "-y")


def test_a_disk_that_cannot_take_it_is_answered_with_the_volume(
    worker: Worker, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repo("acme/m20", model_m20(0.001))
    monkeypatch.setenv("CACHEMGR_SOCKET", str(worker.socket))
    worker.extra.update({"CACHEMGR_DISK__LOW": "1KB", "CACHEMGR_DISK__HIGH": "1KB", "CACHEMGR_DISK__HARD": "1KB"})
    with worker.serving():
        with client.model(REF, deadline=100) as path:
            assert path.tier == "volume"
        with pytest.raises(client.NoSpace) as caught, client.model(REF, tier="disk", deadline=100):
            raise AssertionError
    assert caught.value.fields["needed_bytes"] > 1000


def test_everyone_finds_the_newest_revision_that_was_pulled(reader: Worker, hub: Hub) -> None:
    reader.ok("promote", REF)
    old = client.path(REF)
    hub.commit("acme/m20", {"config.json": b'{"new": true}'})
    reader.ok("pull", REF)
    new = client.path(REF)
    assert new.revision != old.revision
    assert new.tier == "volume"
    assert reader.ok("path", REF).strip() == new
    with client.model(REF, deadline=100) as path:
        assert (path.revision, path.tier) == (new.revision, "disk")


def test_a_hold_on_the_disk_outlives_the_daemon(worker: Worker, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add_repo("acme/m20", model_m20(0.001))
    monkeypatch.setenv("CACHEMGR_SOCKET", str(worker.socket))
    with worker.serving() as daemon:
        reading = client.model(REF, deadline=100)
        path = reading.__enter__()
        daemon.kill()
        daemon.wait()
    with worker.serving():
        assert worker.json("evict", "--bytes", "1GB")["ids"] == []
        assert os.listdir(path)
        reading.__exit__(None, None, None)
        assert worker.json("evict", "--bytes", "1GB")["ids"] == [path.id]


def test_a_frozen_daemon_does_not_keep_a_reader_from_what_is_on_the_disk(reader: Worker) -> None:
    reader.ok("promote", REF)
    pid = reader.json("status")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        with client.model(REF, deadline=1) as path:
            assert path.tier == "disk"
        began = time.monotonic()
        with pytest.raises(client.DeadlineExceeded), client.model("hf://acme/other", deadline=0.5):
            raise AssertionError
        assert time.monotonic() - began < 2
    finally:
        os.kill(pid, signal.SIGCONT)
