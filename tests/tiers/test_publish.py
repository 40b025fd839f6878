"""What is published is complete, found again by anybody, and named for us and for hub clients."""

from __future__ import annotations

import json
import os
import stat
from typing import Any

import pytest

from cachemgr.aio.iopool import IoPool
from cachemgr.domain.manifest import Manifest
from cachemgr.domain.ref import Ref
from cachemgr.tiers.directory import DirectoryTier
from cachemgr.tiers.trash import SPARE
from tests.tiers.conftest import Open
from tests.tiers.making import COMMIT, FILES, MAIN, contents, etag, manifest, publish, sha256, store


async def test_a_published_snapshot_is_found_after_a_restart(tier: DirectoryTier, reopen: Open) -> None:
    made = manifest()
    await publish(tier, made)
    again = await reopen()
    (sealed,) = await again.snapshots.scan()
    assert sealed.manifest == made
    assert sealed == await again.snapshots.find(made.id)
    assert not sealed.adopted
    assert contents(sealed.path) == FILES
    assert sealed.path == tier.root / "huggingface-cache/hub/models--acme--small/snapshots" / COMMIT


async def test_its_files_are_read_only_links_to_blobs(tier: DirectoryTier) -> None:
    made = manifest()
    await publish(tier, made)
    for path, data in FILES.items():
        info = (tier.snapshots.directory(made) / path).lstat()
        assert stat.S_IMODE(info.st_mode) == 0o444
        assert os.path.samestat(info, tier.blobs.path(sha256(data)).lstat())


async def test_hub_clients_find_its_blobs_and_its_ref(tier: DirectoryTier) -> None:
    made = manifest()
    await publish(tier, made)
    repo = tier.layout.repo("hf", "acme/small")
    assert (repo / "refs/main").read_bytes() == COMMIT.encode()
    assert {p.name for p in (repo / "blobs").iterdir()} == {etag(path, data) for path, data in FILES.items()}
    assert not (repo / "trees").exists()


async def test_our_ref_says_where_it_is(tier: DirectoryTier) -> None:
    made = manifest()
    await store(tier, *FILES.values())
    await tier.snapshots.publish(made, MAIN, resolved_at=1e9)
    note = json.loads((tier.layout.refs / f"{MAIN.key}.json").read_text())
    assert (tier.root / note["path"]) == tier.snapshots.directory(made)
    assert (note["id"], note["ref"], note["revision"], note["resolved_at"]) == (made.id, str(MAIN), COMMIT, 1e9)
    assert (await tier.refs.recall(made.ref)) is not None


@pytest.mark.parametrize("again", [1, 2])
async def test_publishing_again_changes_nothing(tier: DirectoryTier, again: int) -> None:
    made = manifest()
    await publish(tier, made)
    before = await tier.snapshots.scan()
    for _ in range(again):
        await tier.snapshots.publish(made, MAIN)
    assert await tier.snapshots.scan() == before


async def test_a_discarded_snapshot_leaves_only_blobs_that_can_be_reclaimed(tier: DirectoryTier) -> None:
    made = manifest()
    await publish(tier, made)
    await tier.snapshots.discard(made.id)
    assert await tier.snapshots.scan() == []
    assert not tier.snapshots.directory(made).exists()
    assert await tier.refs.all() == []
    found = await tier.blobs.reclaimable()
    assert dict(found) == {sha256(data): len(data) for data in FILES.values()}
    assert sum([await tier.blobs.reclaim(digest) for digest, _ in found]) == sum(map(len, FILES.values()))
    assert await tier.measure() == 0


async def test_nothing_is_left_behind_by_publishing_and_discarding(tier: DirectoryTier) -> None:
    made = manifest()
    await publish(tier, made)
    assert leftovers(tier) == []
    await tier.snapshots.discard(made.id)
    assert leftovers(tier) == []


def leftovers(tier: DirectoryTier) -> list[str]:
    places = (tier.layout.parts, tier.layout.staging, tier.layout.trash, tier.layout.quarantine)
    return [p.name for place in places for p in place.iterdir() if p.name != SPARE]


async def test_a_manifest_without_sha256_is_never_sealed(tier: DirectoryTier) -> None:
    made = manifest(have=frozenset({"config.json"}))
    with pytest.raises(ValueError, match="no sha256"):
        await tier.snapshots.publish(Manifest("hf", made.name, made.revision, made.files), None)


@pytest.mark.parametrize("revision", ["v" * 200, "a/./b", "branch/", "x" * 100 + "/" + "y" * 100])
async def test_a_ref_that_no_file_can_be_named_after_does_not_fail_a_pull(tier: DirectoryTier, revision: str) -> None:
    ref = Ref("hf", "acme/" + "n" * 90, revision)
    made = manifest(name=ref.name)
    await publish(tier, made, ref=ref)
    assert [sealed.manifest for sealed in await tier.snapshots.scan()] == [made]
    assert (await tier.refs.recall(made.ref)) is not None


@pytest.mark.parametrize("obstacle", ["refs/main/deeper", "refs"])
async def test_others_files_in_the_way_of_a_ref_stay(tier: DirectoryTier, obstacle: str) -> None:
    theirs = tier.layout.repo("hf", "acme/small") / obstacle
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    await publish(tier, manifest())
    assert theirs.read_text() == "theirs"
    assert len(await tier.snapshots.scan()) == 1
    await tier.snapshots.discard(manifest().id)
    assert theirs.read_text() == "theirs"


async def test_a_snapshot_of_thousands_of_files_takes_few_calls_of_the_pool(tier: DirectoryTier, pool: IoPool) -> None:
    files = {f"dir{number % 50}/file{number}.json": b"%d" % (number % 100) for number in range(3000)}
    made = manifest(files)
    await store(tier, *{data: None for data in files.values()})
    calls, run = 0, pool.run

    async def counted(*args: Any, **kwargs: Any) -> object:  # whatever `run` takes
        nonlocal calls
        calls += 1
        return await run(*args, **kwargs)

    pool.run = counted  # type: ignore[method-assign,assignment]  # to count what goes through it
    sealed = await tier.snapshots.publish(made, MAIN)
    assert calls < 5
    assert len(sealed.manifest.files) == 3000
    assert not sealed.adopted
