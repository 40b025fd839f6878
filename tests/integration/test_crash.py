"""kill -9 at any instant: what is answered is complete, and the next run finishes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.content import assert_same, seals
from tests.services.hub.faults import Fault
from tests.services.hub.models import model_m20
from tests.services.hub.server import Hub
from tests.services.worker import Worker

pytestmark = [pytest.mark.integration]

REF = "hf://acme/m20"


@pytest.mark.torture
def test_thirty_kills_during_pull_and_promote_leave_nothing_half(
    worker: Worker, hub: Hub, rounds: Callable[[int], int]
) -> None:
    hub.add_repo("acme/m20", model_m20(0.08))
    hub.fault(Fault("slow", "acme/m20/*", times=None, rate=60_000_000))
    chance = random.Random(20)
    for round in range(rounds(30)):
        command = worker.start(*(("pull", REF) if round % 2 else ("promote", REF)))
        time.sleep(0.3 + chance.random() * 1.7)
        command.kill()
        command.wait()
        for tier in (worker.volume, worker.disk):
            for id in seals(tier):
                directory = tier / "huggingface-cache/hub/models--acme--m20/snapshots" / id.rpartition("--")[2]
                assert_same(hub, "acme/m20", directory)
        if round % 5 == 4:
            found = worker.run("path", REF)
            assert found.returncode in (0, 3), found.stderr
            if found.returncode == 0:
                assert_same(hub, "acme/m20", Path(found.stdout.strip()))
    hub.faults.clear()
    pulled, promoted = worker.json("pull", REF), worker.json("promote", REF)
    assert_same(hub, "acme/m20", Path(pulled["path"]))
    assert_same(hub, "acme/m20", Path(promoted["path"]))
    assert worker.json("verify")["bad"] == []


def test_a_pull_after_a_kill_fetches_only_what_was_not_verified(worker: Worker, hub: Hub) -> None:
    hub.add_repo("acme/m20", model_m20(0.05))
    last = "acme/m20/model-00011-of-00011.safetensors"
    gate = hub.fault(Fault("stall", last, origin="cdn", at=100_000, times=None))
    command = worker.start("pull", REF)
    assert gate.reached.wait(30)
    deadline = time.monotonic() + 30
    while len(list((worker.volume / ".cachemgr/blobs").glob("sha256-*"))) < 19 and time.monotonic() < deadline:
        time.sleep(0.05)
    command.kill()
    command.wait()
    hub.faults.clear()
    hub.journal.clear()
    pulled = worker.json("pull", REF)
    fetched = {asked.file for asked in hub.requests(method="GET", file="acme/m20/*") if asked.bytes}
    assert fetched == {last}
    assert_same(hub, "acme/m20", Path(pulled["path"]))
