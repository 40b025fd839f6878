"""The disk fills: the least recently used model leaves, what is held or pinned stays."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from cachemgr import client
from tests.integration.content import assert_same, seals
from tests.services.hub.models import model_m20
from tests.services.hub.server import Hub
from tests.services.worker import Worker

pytestmark = [pytest.mark.integration]


@pytest.fixture(autouse=True)
def our_socket(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client in this process speaks to the worker's daemon."""
    monkeypatch.setenv("CACHEMGR_SOCKET", str(worker.socket))


SCALE = 0.02  # a model of 25.7 MB
TWO_FIT = {"CACHEMGR_DISK__LOW": "55MB", "CACHEMGR_DISK__HIGH": "60MB", "CACHEMGR_DISK__HARD": "60MB"}


def models(hub: Hub, count: int) -> list[str]:
    names = [f"acme/m{number}" for number in range(count)]
    for number, name in enumerate(names):
        hub.add_repo(name, model_m20(SCALE, seed=number))
    return [f"hf://{name}" for name in names]


def on_disk(worker: Worker) -> set[str]:
    return {id.split("--")[2] for id in seals(worker.disk)}


def test_the_least_recently_used_leaves_a_held_and_a_pinned_one_stay(worker: Worker, hub: Hub) -> None:
    worker.extra.update(TWO_FIT)
    first, second, third, fourth = models(hub, 4)
    with worker.serving():
        worker.ok("promote", first)
        worker.ok("promote", second)
        worker.ok("path", "--tier", "disk", first)  # a use: now the second is the colder one
        worker.ok("promote", third)
        assert on_disk(worker) == {"m0", "m2"}
        worker.ok("pin", first)
        with client.model(third) as path:
            assert str(path).startswith(str(worker.disk))
            problem = worker.fails(5, "promote", fourth)
            assert problem["needed_bytes"] > problem["free_bytes"]
            assert problem["evictable_bytes"] == 0
            assert on_disk(worker) == {"m0", "m2"}
        worker.ok("promote", fourth)
        assert on_disk(worker) == {"m0", "m3"}
        assert worker.metric('cachemgr_evictions_total{reason="pressure"}') == 2
        assert_same(hub, "acme/m3", Path(worker.ok("path", "--tier", "disk", fourth).strip()))


def test_last_use_survives_a_restart(worker: Worker, hub: Hub) -> None:
    worker.extra.update(TWO_FIT)
    first, second, third = models(hub, 3)
    for ref in (first, second):
        worker.ok("promote", ref)
    time.sleep(0.05)
    worker.ok("path", "--tier", "disk", first)
    worker.ok("promote", third)
    assert on_disk(worker) == {"m0", "m2"}


def test_an_acquire_gets_the_volumes_path_when_the_disk_cannot_take_it(worker: Worker, hub: Hub) -> None:
    worker.extra.update({"CACHEMGR_DISK__LOW": "1MB", "CACHEMGR_DISK__HIGH": "2MB", "CACHEMGR_DISK__HARD": "3MB"})
    (ref,) = models(hub, 1)
    with worker.serving(), client.model(ref, deadline=60) as path:
        assert path.tier == "volume"
        assert_same(hub, "acme/m0", Path(path))


def test_a_model_that_can_never_fit_evicts_nothing(worker: Worker, hub: Hub) -> None:
    worker.extra.update(TWO_FIT)
    first, second = models(hub, 2)
    hub.add_repo("acme/huge", model_m20(0.06))
    worker.ok("promote", first)
    worker.ok("promote", second)
    problem = worker.fails(5, "promote", "hf://acme/huge")
    assert problem["code"] == "no_space"
    assert problem["evictable_bytes"] > 0
    assert on_disk(worker) == {"m0", "m1"}


def test_evict_and_rm_say_what_they_would_do_and_do_it(worker: Worker, hub: Hub) -> None:
    first, second = models(hub, 2)
    worker.ok("promote", first)
    worker.ok("promote", second)
    plan = worker.json("evict", first, "--dry-run")
    assert plan["dry_run"] is True
    assert plan["freed_bytes"] > 0
    assert on_disk(worker) == {"m0", "m1"}
    assert worker.json("evict", first, "-y")["freed_bytes"] == plan["freed_bytes"]
    assert on_disk(worker) == {"m1"}
    worker.ok("pin", second)
    assert worker.fails(1, "rm", second, "-y")["code"] == "held"
    worker.ok("unpin", second)
    worker.ok("rm", second, "-y")
    assert on_disk(worker) == set()
    assert {id.split("--")[2] for id in seals(worker.volume)} == {"m0"}
    assert not list((worker.disk / ".cachemgr/blobs").iterdir())


def test_readers_never_lose_a_model_under_an_eviction_storm(worker: Worker, hub: Hub) -> None:
    worker.extra.update(TWO_FIT)
    refs = models(hub, 4)
    with worker.serving():
        for ref in refs:
            worker.ok("pull", ref)
        trouble: list[str] = []
        done = threading.Event()

        def read(name: str, ref: str) -> None:
            while not done.is_set():
                try:
                    with client.model(ref, tier="disk", deadline=30) as path:
                        for file in Path(path).rglob("*"):
                            assert not file.is_file() or file.stat().st_size >= 0
                        assert len(list(Path(path).iterdir())) == 20
                except client.NoSpace:
                    continue  # the others hold all of it: an honest answer
                except (OSError, AssertionError) as error:
                    trouble.append(f"{name}: {error!r}")

        readers = [threading.Thread(target=read, args=(f"acme/m{n}", ref)) for n, ref in enumerate(refs)]
        for reader in readers:
            reader.start()
        time.sleep(10)
        done.set()
        for reader in readers:
            reader.join(60)
        assert trouble == []
        assert worker.metric('cachemgr_evictions_total{reason="pressure"}') > 3
