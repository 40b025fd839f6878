"""Notes survive a restart, and a damaged one is none."""

from __future__ import annotations

import os

import pytest

from cachemgr.domain.ref import Ref
from cachemgr.tiers.directory import DirectoryTier
from cachemgr.tiers.notes import Resolved
from tests.tiers.conftest import Open
from tests.tiers.making import COMMIT, MAIN, OTHER, manifest

ID = manifest().id


async def test_a_resolution_is_recalled_after_a_restart(tier: DirectoryTier, reopen: Open) -> None:
    await tier.refs.remember(MAIN, COMMIT, 5.0)
    assert await (await reopen()).refs.recall(MAIN) == Resolved(MAIN, COMMIT, 5.0)
    assert await tier.refs.recall(Ref.parse("hf://acme/small/config.json")) == Resolved(MAIN, COMMIT, 5.0)
    assert await tier.refs.recall(Ref.parse("hf://acme/small@v2")) is None


async def test_the_newest_word_counts(tier: DirectoryTier) -> None:
    await tier.refs.remember(MAIN, COMMIT, 5.0)
    await tier.refs.remember(MAIN, OTHER, 6.0)
    await tier.refs.remember(MAIN, OTHER, 5.5)
    assert await tier.refs.all() == [Resolved(MAIN, OTHER, 6.0)]
    await tier.refs.remember(MAIN, COMMIT, 7.0)
    assert await tier.refs.recall(MAIN) == Resolved(MAIN, COMMIT, 7.0)


DAMAGED = ["", "{", "[]", "{}", '{"ref": "hf://acme/small@main"}', '{"ref": "../x", "revision": "r", "resolved_at": 1}']


@pytest.mark.parametrize("text", DAMAGED)
async def test_a_damaged_note_of_a_ref_counts_as_none(tier: DirectoryTier, text: str) -> None:
    path = tier.layout.refs / f"{MAIN.key}.json"
    path.write_text(text)
    assert (await tier.refs.recall(MAIN), await tier.refs.all()) == (None, [])
    await tier.refs.remember(MAIN, COMMIT, 5.0)
    assert await tier.refs.recall(MAIN) == Resolved(MAIN, COMMIT, 5.0)


async def test_a_note_under_another_refs_name_counts_as_none(tier: DirectoryTier) -> None:
    await tier.refs.remember(MAIN, COMMIT, 5.0)
    (tier.layout.refs / f"{MAIN.key}.json").rename(tier.layout.refs / f"{MAIN.at('v2').key}.json")
    assert await tier.refs.all() == []


async def test_pins_stay_until_they_are_removed(tier: DirectoryTier, reopen: Open) -> None:
    await tier.pins.add(ID)
    await tier.pins.add(ID)
    assert await (await reopen()).pins.all() == {ID}
    await tier.pins.remove(ID)
    await tier.pins.remove(ID)
    assert await tier.pins.all() == frozenset()


async def test_a_use_is_now_and_survives_a_restart(tier: DirectoryTier, reopen: Open) -> None:
    await tier.uses.touch(ID)
    path = tier.layout.used / ID
    os.utime(path, (100, 100))
    assert await (await reopen()).uses.all() == {ID: 100.0}
    await tier.uses.touch(ID)
    assert (await tier.uses.all())[ID] == path.stat().st_mtime > 1e9


async def test_a_link_in_place_of_a_use_is_not_followed(tier: DirectoryTier) -> None:
    outside = tier.root / "outside"
    (tier.layout.used / ID).symlink_to(outside)
    with pytest.raises(OSError, match="symbolic"):
        await tier.uses.touch(ID)
    assert not outside.exists()
