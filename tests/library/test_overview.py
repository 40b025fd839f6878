"""The overview is told from memory: no look at a file, and what it says is what the tiers hold."""

from __future__ import annotations

import shutil
from pathlib import Path

from cachemgr.library.overview import Identity, Overview
from tests.library.stage import SIZE, Floor, Hub, Library, library

KINDS = {"disk": "ext4", "volume": "fuse"}


def overview(lib: Library) -> Overview:
    return Overview(Identity("1", "worker", 0.0), lib.shelves, KINDS, lib.wanted(), lib.transfers, lib.holding)


async def test_it_says_what_is_used_and_held_also_when_the_tiers_have_gone(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    await lib.acquire(ref)
    for shelf in lib.shelves:
        shutil.rmtree(shelf.tier.root)
    status = overview(lib).status()
    assert [(use.tier, use.kind, use.used_bytes) for use in status.tiers] == [
        ("disk", "ext4", SIZE),
        ("volume", "fuse", SIZE),
    ]
    assert (status.holds, [view.state for view in status.transfers]) == (1, ["done"])
    assert all(check.ok for check in overview(lib).readiness())


async def test_without_a_tier_to_write_it_is_not_ready(tmp_path: Path, hub: Hub) -> None:
    async with library(tmp_path, hub, {"disk": Floor(writable=False)}) as lib:
        assert [check.ok for check in overview(lib).readiness()] == [True, False]
