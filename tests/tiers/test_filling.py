"""A directory that other clients began is completed: what is right stays, and nothing outside is touched."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cachemgr.aio.iopool import IoPool
from cachemgr.domain.digest import Seen
from cachemgr.domain.errors import TierUnavailable
from cachemgr.domain.manifest import Manifest
from cachemgr.tiers.directory import DirectoryTier
from cachemgr.tiers.seals import Sealed
from tests.tiers.conftest import Open
from tests.tiers.making import FILES, MAIN, contents, etag, manifest, publish, seen, sha256, store


@pytest.fixture
def made() -> Manifest:
    return manifest()


@pytest.fixture
def there(tier: DirectoryTier, made: Manifest) -> Path:
    """The snapshot's directory, made by somebody else."""
    path = tier.snapshots.directory(made)
    path.mkdir(parents=True)
    return path


async def fill(tier: DirectoryTier, made: Manifest) -> Sealed:
    await publish(tier, made)
    sealed = await tier.snapshots.find(made.id)
    assert sealed is not None
    return sealed


def ours(tier: DirectoryTier, there: Path) -> set[str]:
    """Which files are links to our blobs."""
    return {
        path
        for path, data in FILES.items()
        if os.path.samestat((there / path).lstat(), tier.blobs.path(sha256(data)).lstat())
    }


def client_blob(there: Path, path: str, data: bytes) -> Path:
    """What an online client leaves: its own blob, and a symbolic link to it."""
    blob = there.parent.parent / "blobs" / etag(path, data)
    blob.parent.mkdir(exist_ok=True)
    blob.write_bytes(data)
    (there / path).parent.mkdir(parents=True, exist_ok=True)
    (there / path).symlink_to(os.path.relpath(blob, (there / path).parent))
    return blob


async def test_an_empty_directory_is_filled(tier: DirectoryTier, made: Manifest, there: Path) -> None:
    assert not (await fill(tier, made)).adopted
    assert contents(there) == FILES


async def test_an_interrupted_client_is_completed_and_keeps_its_blob(
    tier: DirectoryTier, made: Manifest, there: Path
) -> None:
    blob = client_blob(there, "original/params.json", FILES["original/params.json"])
    before = blob.stat()
    assert not (await fill(tier, made)).adopted
    assert ours(tier, there) == FILES.keys()
    after = blob.lstat()
    assert (after.st_ino, after.st_mtime_ns, after.st_nlink) == (before.st_ino, before.st_mtime_ns, 1)


async def test_another_clients_wrong_blob_is_not_answered_and_not_touched(
    tier: DirectoryTier, made: Manifest, there: Path
) -> None:
    blob = client_blob(there, "config.json", b"flipped")
    await fill(tier, made)
    assert contents(there) == FILES
    assert blob.read_bytes() == b"flipped"


async def test_right_bytes_of_others_stay_and_make_it_adopted(tier: DirectoryTier, made: Manifest, there: Path) -> None:
    theirs = there / "config.json"
    theirs.write_bytes(FILES["config.json"])
    before = theirs.stat()
    sealed = await fill(tier, made)
    assert sealed.adopted
    assert sealed.unlinked_bytes == len(FILES["config.json"])
    after = theirs.lstat()
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)
    assert ours(tier, there) == FILES.keys() - {"config.json"}
    again = await tier.snapshots.publish(made, MAIN)
    assert again == sealed


@pytest.mark.parametrize("data", [b"", FILES["config.json"][:-1], FILES["config.json"][:-1] + b"?"])
async def test_wrong_bytes_are_replaced(tier: DirectoryTier, made: Manifest, there: Path, data: bytes) -> None:
    (there / "config.json").write_bytes(data)
    assert not (await fill(tier, made)).adopted
    assert contents(there) == FILES


async def test_a_reader_of_wrong_bytes_keeps_what_it_opened(tier: DirectoryTier, made: Manifest, there: Path) -> None:
    (there / "config.json").write_bytes(b"old")
    with (there / "config.json").open("rb") as reader:
        await fill(tier, made)
        assert reader.read() == b"old"


async def test_more_files_than_the_revision_has_make_it_adopted(
    tier: DirectoryTier, made: Manifest, there: Path
) -> None:
    (there / "notes").mkdir()
    (there / "notes/mine.txt").write_text("mine")
    assert (await fill(tier, made)).adopted
    assert (there / "notes/mine.txt").read_text() == "mine"


def link_out(at: Path, outside: Path) -> None:
    at.symlink_to(outside / "secret")


def link_dangling(at: Path, outside: Path) -> None:
    at.symlink_to(outside / "new")


def fifo(at: Path, outside: Path) -> None:
    os.mkfifo(at)


def directory(at: Path, outside: Path) -> None:
    at.mkdir()
    (at / "inner").write_text("theirs")


@pytest.mark.parametrize("obstacle", [link_out, link_dangling, fifo, directory])
async def test_whatever_stands_for_a_file_gives_way(
    tier: DirectoryTier, made: Manifest, there: Path, tmp_path: Path, obstacle: Callable[[Path, Path], None]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    obstacle(there / "config.json", outside)
    await fill(tier, made)
    assert contents(there) == FILES
    assert contents(outside) == {"secret": b"secret"}


@pytest.mark.parametrize("where", ["original", "original/deep"])
async def test_no_link_leads_our_writes_out_of_the_tier(
    tier: DirectoryTier, made: Manifest, there: Path, tmp_path: Path, where: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "params.json").write_text("theirs")
    (there / where).parent.mkdir(exist_ok=True)
    (there / where).symlink_to(outside)
    await fill(tier, made)
    assert contents(there) == FILES
    assert contents(outside) == {"params.json": b"theirs"}


async def test_a_file_in_place_of_a_folder_goes_to_quarantine(tier: DirectoryTier, made: Manifest, there: Path) -> None:
    (there / "original").write_text("theirs")
    await fill(tier, made)
    assert contents(there) == FILES
    assert b"theirs" in contents(tier.layout.quarantine).values()


@pytest.mark.parametrize("levels", [0, 1, 2])
async def test_a_linked_snapshot_is_refused_and_its_target_untouched(
    tier: DirectoryTier, made: Manifest, tmp_path: Path, levels: int
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    path = tier.snapshots.directory(made)
    for _ in range(levels):
        path = path.parent
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(outside)
    with pytest.raises(TierUnavailable, match="is a link or a file"):
        await publish(tier, made)
    assert contents(outside) == {}
    assert await tier.snapshots.scan() == []


class Meddler:
    """A hasher that meddles with a file right after it was hashed."""

    def __init__(self, meddle: Callable[[Path], object]) -> None:
        self.meddle = meddle

    async def digest(self, path: Path, *, size: int, git_sha1: bool, progress: Callable[[int], None]) -> Seen:
        return self._digest(path)

    def _digest(self, path: Path) -> Seen:
        found = seen(path.read_bytes())
        self.meddle(path)
        return found


async def test_a_file_that_changes_after_it_was_hashed_is_not_believed(
    tier: DirectoryTier, made: Manifest, there: Path, pool: IoPool
) -> None:
    (there / "config.json").write_bytes(FILES["config.json"])
    await store(tier, *FILES.values())
    flip = Meddler(lambda path: path.write_bytes(b"?" * path.stat().st_size))
    meddled = await DirectoryTier.open("disk", tier.root, pool, flip, local=True)
    assert not (await meddled.snapshots.publish(made, MAIN)).adopted
    assert contents(there) == FILES


async def test_a_file_that_vanishes_after_it_was_hashed_is_put_there(
    tier: DirectoryTier, made: Manifest, there: Path, pool: IoPool
) -> None:
    (there / "config.json").write_bytes(FILES["config.json"])
    await store(tier, *FILES.values())
    meddled = await DirectoryTier.open("disk", tier.root, pool, Meddler(Path.unlink), local=True)
    await meddled.snapshots.publish(made, MAIN)
    assert contents(there) == FILES


async def test_a_sealed_snapshot_that_another_client_made_anew_counts_as_absent(
    tier: DirectoryTier, made: Manifest
) -> None:
    await publish(tier, made)
    there = tier.snapshots.directory(made)
    shutil.rmtree(there.parent.parent)
    there.mkdir(parents=True)
    for path, data in FILES.items():
        client_blob(there, path, data)
    assert await tier.snapshots.find(made.id) is None
    assert await tier.snapshots.scan() == []
    await fill(tier, made)
    assert ours(tier, there) == FILES.keys()


async def test_a_file_missing_from_a_sealed_snapshot_comes_back(tier: DirectoryTier, made: Manifest) -> None:
    await publish(tier, made)
    (tier.snapshots.directory(made) / "config.json").unlink()
    assert await tier.snapshots.find(made.id) is None
    assert not (await fill(tier, made)).adopted
    assert contents(tier.snapshots.directory(made)) == FILES


async def test_workers_that_publish_at_once_end_with_one_whole_snapshot(
    tier: DirectoryTier, made: Manifest, reopen: Open
) -> None:
    await store(tier, *FILES.values())
    tiers = [await reopen() for _ in range(6)]
    await asyncio.gather(*(each.snapshots.publish(made, MAIN) for each in tiers))
    (sealed,) = await tier.snapshots.scan()
    assert not sealed.adopted
    assert contents(sealed.path) == FILES
