"""The acceptance model at its full size: 20 files, 1.3 GB."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.content import assert_same, quarantined, seals
from tests.services.hub.faults import Fault
from tests.services.hub.models import model_m20
from tests.services.hub.server import Hub
from tests.services.worker import Worker

pytestmark = [pytest.mark.integration]

REF = "hf://acme/m20"
BAD = "model-00001-of-00011.safetensors"


def test_a_flip_in_a_large_shard_is_found_and_only_that_shard_is_fetched_again(worker: Worker, hub: Hub) -> None:
    hub.add_repo("acme/m20", model_m20())
    hub.fault(Fault("flip", f"acme/m20/{BAD}", at=400_000_001, times=None))
    assert worker.fails(4, "pull", REF)["file"] == BAD
    assert seals(worker.volume) == set()
    assert [path.stat().st_size for path in quarantined(worker.volume) if path.suffix != ".json"] == [700_000_000]
    hub.faults.clear()
    hub.journal.clear()
    pulled = worker.json("pull", REF)
    assert pulled["fetched_bytes"] == 700_000_000
    assert {asked.file for asked in hub.requests(method="GET", file="acme/m20/*") if asked.bytes} == {f"acme/m20/{BAD}"}
    assert_same(hub, "acme/m20", Path(pulled["path"]))
    promoted = worker.json("promote", REF)
    assert promoted["fetched_bytes"] == 0
    assert_same(hub, "acme/m20", Path(promoted["path"]))
