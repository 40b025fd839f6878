"""A filtered snapshot says what it has, grows by what is asked for more, and never shrinks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cachemgr.domain.errors import VerificationFailed
from cachemgr.domain.manifest import Manifest
from cachemgr.tiers.directory import DirectoryTier
from tests.tiers.making import COMMIT, FILES, MAIN, contents, etag, git_sha1, manifest, publish

CONFIG, WEIGHTS = frozenset({"config.json"}), frozenset({"model.safetensors"})


async def find(tier: DirectoryTier) -> Manifest:
    sealed = await tier.snapshots.find(manifest().id)
    assert sealed is not None
    assert not sealed.adopted
    return sealed.manifest


async def test_a_filtered_snapshot_covers_only_what_it_has(tier: DirectoryTier) -> None:
    await publish(tier, manifest(have=CONFIG))
    found = await find(tier)
    assert found == manifest(have=CONFIG)
    assert not found.covers(manifest())
    assert contents(tier.snapshots.directory(found)) == {"config.json": FILES["config.json"]}


async def test_two_filters_add_up(tier: DirectoryTier) -> None:
    await publish(tier, manifest(have=CONFIG))
    await publish(tier, manifest(have=WEIGHTS))
    found = await find(tier)
    assert found.have == CONFIG | WEIGHTS
    assert {entry.path for entry in found.entries if entry.digest.algorithm == "sha256"} == CONFIG | WEIGHTS
    assert contents(tier.snapshots.directory(found)).keys() == CONFIG | WEIGHTS


async def test_all_of_it_makes_it_whole(tier: DirectoryTier) -> None:
    await publish(tier, manifest(have=CONFIG))
    await publish(tier, manifest())
    assert await find(tier) == manifest()


@pytest.mark.parametrize("first", [None, CONFIG | WEIGHTS])
async def test_less_than_is_there_takes_nothing_away(tier: DirectoryTier, first: frozenset[str] | None) -> None:
    await publish(tier, manifest(have=first))
    before = contents(tier.snapshots.directory(manifest()))
    await publish(tier, manifest(have=CONFIG))
    assert (await find(tier)).have == first
    assert contents(tier.snapshots.directory(manifest())) == before


async def test_growing_needs_only_the_blobs_of_what_is_new(tier: DirectoryTier) -> None:
    await publish(tier, manifest(have=CONFIG))
    for blob in tier.layout.blobs.iterdir():
        blob.unlink()
    await publish(tier, manifest(have=WEIGHTS))
    assert contents(tier.snapshots.directory(manifest())).keys() == CONFIG | WEIGHTS


async def test_a_revision_that_has_other_files_now_is_refused(tier: DirectoryTier) -> None:
    await publish(tier, manifest(have=CONFIG))
    with pytest.raises(VerificationFailed, match="other files"):
        await publish(tier, manifest({**FILES, "new.json": b"{}"}), {**FILES, "new.json": b"{}"})
    assert await find(tier) == manifest(have=CONFIG)


async def test_a_revision_whose_file_is_another_now_is_refused(tier: DirectoryTier) -> None:
    await publish(tier, manifest())
    other = {**FILES, "config.json": FILES["config.json"][::-1]}
    with pytest.raises(VerificationFailed, match=r"config\.json"):
        await publish(tier, manifest(other), other)
    assert contents(tier.snapshots.directory(manifest())) == FILES


async def test_the_hub_gets_a_list_of_all_files(tier: DirectoryTier) -> None:
    await publish(tier, manifest(have=CONFIG))
    tree = tier.layout.repo("hf", "acme/small") / "trees" / f"{COMMIT}.json"
    assert tree.stat().st_mode & 0o777 == 0o644
    listed = json.loads(tree.read_text())
    assert listed["format_version"] == 1
    assert listed["files"]["config.json"] == {
        "size": len(FILES["config.json"]),
        "blob_id": git_sha1(FILES["config.json"]),
    }
    weights = FILES["model.safetensors"]
    sha256 = etag("model.safetensors", weights)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(weights)}\n"
    assert listed["files"]["model.safetensors"] == {
        "size": len(weights),
        "blob_id": git_sha1(pointer.encode()),
        "lfs_sha256": sha256,
        "lfs_size": len(weights),
    }
    await tier.snapshots.discard(manifest().id)
    assert not tree.exists()


async def test_another_clients_list_is_left_alone(tier: DirectoryTier) -> None:
    trees = tier.layout.repo("hf", "acme/small") / "trees"
    trees.mkdir(parents=True)
    (trees / f"{COMMIT}.json").write_text("theirs")
    await publish(tier, manifest(have=CONFIG))
    await tier.snapshots.discard(manifest().id)
    assert contents(trees) == {f"{COMMIT}.json": b"theirs"}


async def test_without_etags_there_is_no_list_and_no_harm(tier: DirectoryTier) -> None:
    made = manifest(have=CONFIG)
    bare = replace(made, files=tuple(replace(entry, etag=None) for entry in made.files))
    await publish(tier, bare)
    assert not (tier.layout.repo("hf", "acme/small") / "trees").is_file()
    assert (await find(tier)).have == CONFIG
    assert (await tier.refs.recall(MAIN)) is not None
