"""What leaves a tier leaves wholly, and takes with it nothing that others need."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cachemgr.domain.ref import Ref
from cachemgr.tiers.directory import DirectoryTier
from cachemgr.tiers.owner import Owner
from cachemgr.tiers.trash import SEAL, SPARE
from tests.tiers import writing
from tests.tiers.making import COMMIT, FILES, MAIN, OTHER, contents, etag, manifest, publish, sha256

NEXT = {**FILES, "config.json": b'{"next": true}'}
V2 = Ref.parse("hf://acme/small@v2")


def hub(tier: DirectoryTier, below: str) -> Path:
    return tier.layout.repo("hf", "acme/small") / below


def etags(files: dict[str, bytes]) -> set[str]:
    return {etag(path, data) for path, data in files.items()}


def names(path: Path) -> set[str]:
    return {each.name for each in path.iterdir()}


async def test_the_next_revision_keeps_what_both_have(tier: DirectoryTier) -> None:
    await publish(tier, manifest())
    await publish(tier, manifest(NEXT, OTHER), NEXT, V2)
    await tier.snapshots.discard(manifest().id)
    assert contents(tier.snapshots.directory(manifest(NEXT, OTHER))) == NEXT
    assert names(hub(tier, "blobs")) == etags(NEXT)
    assert dict(await tier.blobs.reclaimable()).keys() == {sha256(FILES["config.json"])}
    assert names(hub(tier, "refs")) == {"v2"}
    assert [note.revision for note in await tier.refs.all()] == [OTHER, OTHER]


async def test_a_ref_that_moved_on_stays(tier: DirectoryTier) -> None:
    await publish(tier, manifest(), ref=MAIN)
    await publish(tier, manifest(NEXT, OTHER), NEXT, MAIN)
    await tier.snapshots.discard(manifest().id)
    assert hub(tier, "refs/main").read_text() == OTHER
    assert (note := await tier.refs.recall(MAIN)) is not None
    assert note.revision == OTHER


async def test_hub_blobs_of_others_stay(tier: DirectoryTier) -> None:
    blobs = hub(tier, "blobs")
    blobs.mkdir(parents=True)
    theirs = blobs / etag("config.json", FILES["config.json"])
    theirs.write_bytes(FILES["config.json"])
    (blobs / ("c" * 64 + ".incomplete")).write_bytes(b"on its way")
    before = contents(blobs)
    await publish(tier, manifest())
    await tier.snapshots.discard(manifest().id)
    assert contents(blobs) == before


async def test_a_blob_that_a_client_links_stays_until_the_link_goes(tier: DirectoryTier) -> None:
    await publish(tier, manifest())
    needed = etag("config.json", FILES["config.json"])
    theirs = hub(tier, "snapshots") / OTHER / "deep" / "config.json"
    theirs.parent.mkdir(parents=True)
    theirs.symlink_to(f"../../../blobs/{needed}")
    await tier.snapshots.discard(manifest().id)
    assert theirs.read_bytes() == FILES["config.json"]
    assert names(hub(tier, "blobs")) == {needed}
    assert sha256(FILES["config.json"]) not in dict(await tier.blobs.reclaimable())


async def test_a_linked_directory_is_not_followed_when_it_is_removed(tier: DirectoryTier, tmp_path: Path) -> None:
    await publish(tier, manifest())
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    (tier.snapshots.directory(manifest()) / "link").symlink_to(outside)
    hub(tier, "refs/deep").symlink_to(outside)
    await tier.snapshots.discard(manifest().id)
    assert contents(outside) == {"precious": b"precious"}


async def test_the_bytes_of_adopted_files_are_said_to_be_freed(tier: DirectoryTier) -> None:
    there = tier.snapshots.directory(manifest())
    there.mkdir(parents=True)
    (there / "config.json").write_bytes(FILES["config.json"])
    await publish(tier, manifest())
    assert await tier.measure() == sum(map(len, FILES.values())) + len(FILES["config.json"])
    assert await tier.snapshots.discard(manifest().id) == len(FILES["config.json"])


async def test_what_is_not_there_is_discarded_without_ado(tier: DirectoryTier) -> None:
    assert await tier.snapshots.discard(manifest().id) == 0


async def test_the_last_use_goes_too(tier: DirectoryTier) -> None:
    await publish(tier, manifest())
    await tier.uses.touch(manifest().id)
    await tier.snapshots.discard(manifest().id)
    assert await tier.uses.all() == {}


async def test_a_blob_linked_at_the_last_moment_is_not_reclaimed(
    tier: DirectoryTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(tier, manifest())
    await tier.snapshots.discard(manifest().id)
    blob, link = tier.blobs.path(sha256(FILES["config.json"])), tier.root / "linked"
    rename = os.rename

    def link_first(source: Path, target: Path) -> None:
        os.link(source, link)
        rename(source, target)

    monkeypatch.setattr(os, "rename", link_first)
    assert await tier.blobs.reclaim(sha256(FILES["config.json"])) == 0
    assert blob.samefile(link)


@asynccontextmanager
async def somebody_reads(id: str) -> AsyncIterator[bool]:
    yield False


def interrupted(tier: DirectoryTier) -> Path:
    """A removal whose process died after the seal was gone."""
    dead = tier.layout.trash / Owner("e" * 32, 1, 1, 1).unique_name()
    dead.mkdir()
    tier.layout.seal(manifest().id).rename(dead / SEAL)
    return dead


async def test_the_sweep_finishes_a_removal_once_nobody_reads(tier: DirectoryTier) -> None:
    await publish(tier, manifest())
    dead = interrupted(tier)
    await tier.sweep(somebody_reads)
    assert contents(tier.snapshots.directory(manifest())) == FILES
    await tier.sweep(writing.alone)
    assert not tier.snapshots.directory(manifest()).exists()
    assert not dead.exists()
    assert len(await tier.blobs.reclaimable()) == len(FILES)


async def test_a_snapshot_that_was_sealed_again_survives_the_finishing(tier: DirectoryTier) -> None:
    await publish(tier, manifest())
    interrupted(tier)
    await publish(tier, manifest())
    await tier.sweep(writing.alone)
    assert contents(tier.snapshots.directory(manifest())) == FILES
    assert [sealed.manifest.revision for sealed in await tier.snapshots.scan()] == [COMMIT]


async def test_publishing_again_after_an_interrupted_removal_adopts_nothing(tier: DirectoryTier) -> None:
    await publish(tier, manifest())
    interrupted(tier)
    await publish(tier, manifest())
    assert [sealed.adopted for sealed in await tier.snapshots.scan()] == [False]


async def test_unsealing_leaves_the_files_to_their_readers(tier: DirectoryTier) -> None:
    await publish(tier, manifest())
    await tier.snapshots.unseal(manifest().id)
    assert await tier.snapshots.find(manifest().id) is None
    assert contents(tier.snapshots.directory(manifest())) == FILES
    await tier.sweep(writing.alone)
    assert contents(tier.snapshots.directory(manifest())) == FILES


async def test_what_went_bad_is_replaced_everywhere_by_the_next_pull(tier: DirectoryTier) -> None:
    await publish(tier, manifest())
    blob = tier.blobs.path(sha256(FILES["config.json"]))
    blob.chmod(0o644)
    blob.write_bytes(b"?" * len(FILES["config.json"]))
    await tier.blobs.condemn(sha256(FILES["config.json"]), "flipped")
    await tier.snapshots.unseal(manifest().id)
    assert await tier.blobs.contains(sha256(FILES["config.json"])) is None
    await publish(tier, manifest())
    assert contents(tier.snapshots.directory(manifest())) == FILES
    assert contents(hub(tier, "blobs")) == {etag(path, data): data for path, data in FILES.items()}
    assert [sealed.adopted for sealed in await tier.snapshots.scan()] == [False]


async def test_a_full_tier_can_still_be_cleared(tier: DirectoryTier, monkeypatch: pytest.MonkeyPatch) -> None:
    await publish(tier, manifest())

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        for call in ("mkdir", "link", "write"):
            patch.setattr(os, call, full)
        await tier.snapshots.discard(manifest().id)
        for digest, _ in await tier.blobs.reclaimable():
            await tier.blobs.reclaim(digest)
    assert await tier.measure() == 0


@pytest.mark.parametrize(("age", "gone"), [(0.0, False), (86300.0, False), (86500.0, True)])
async def test_a_blob_that_nothing_links_is_kept_for_a_day(
    tier: DirectoryTier, monkeypatch: pytest.MonkeyPatch, age: float, gone: bool
) -> None:
    await publish(tier, manifest())
    await tier.snapshots.discard(manifest().id)
    later(monkeypatch, age)
    await tier.sweep(writing.alone)
    assert (await tier.measure() == 0) is gone


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the tier's clock, and only that, be ahead."""
    fstat: Callable[[int], os.stat_result] = os.fstat

    def ahead(fd: int) -> os.stat_result:
        info = fstat(fd)
        if "/clock." not in os.readlink(f"/proc/self/fd/{fd}"):
            return info
        return os.stat_result((*info[:8], info.st_mtime + seconds, info.st_ctime))

    monkeypatch.setattr(os, "fstat", ahead)


async def test_a_reclaim_that_died_gives_a_linked_blob_its_name_back(tier: DirectoryTier) -> None:
    await publish(tier, manifest())
    linked, unlinked = tier.blobs.path(sha256(FILES["config.json"])), tier.blobs.path(sha256(b"nothing links it"))
    unlinked.write_bytes(b"nothing links it")
    for blob in (linked, unlinked):
        blob.rename(tier.layout.trash / f"{blob.name}.{Owner(boot(), pid_namespace(), 2**22 + 1, 1).unique_name()}")
    await tier.sweep(writing.alone)
    assert linked.samefile(tier.snapshots.directory(manifest()) / "config.json")
    assert not unlinked.exists()
    assert names(tier.layout.trash) == {SPARE}


async def test_what_cannot_be_swept_now_does_not_stop_the_start(
    tier: DirectoryTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(tier, manifest())
    interrupted(tier)

    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", broken)
        await tier.sweep(writing.alone)
    await tier.sweep(writing.alone)
    assert not tier.snapshots.directory(manifest()).exists()


def boot() -> str:
    return Owner.current().boot


def pid_namespace() -> int:
    return Owner.current().pid_namespace
