"""Where a file system refuses a link, the file is copied: refused links are never taken for a full tier."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from cachemgr.domain.errors import VerificationFailed
from cachemgr.tiers.directory import DirectoryTier
from cachemgr.tiers.links import BlobGone
from tests.tiers.making import FILES, MAIN, contents, manifest, publish, sha256, store

Refuse = Callable[[int, str], None]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Refuse links to a name that ends with something."""
    link = os.link

    def install(code: int, ending: str) -> None:
        def refusing(source: str, target: str, **options: object) -> None:
            if str(target).endswith(ending):
                raise OSError(code, os.strerror(code))
            link(source, target, **options)  # type: ignore[arg-type]  # passed on as they came

        monkeypatch.setattr(os, "link", refusing)

    return install


@pytest.mark.parametrize("code", [errno.EPERM, errno.EMLINK, errno.EXDEV, errno.ENOSPC, errno.EOPNOTSUPP])
async def test_a_refused_link_is_a_copy(tier: DirectoryTier, refuse: Refuse, code: int) -> None:
    await store(tier, *FILES.values())
    refuse(code, "config.json")
    sealed = await tier.snapshots.publish(manifest(), MAIN)
    assert not sealed.adopted
    assert sealed.unlinked_bytes == len(FILES["config.json"])
    assert contents(sealed.path) == FILES
    copy = (sealed.path / "config.json").stat()
    assert (copy.st_mode & 0o777, copy.st_nlink) == (0o444, 1)
    assert await tier.measure() == sum(map(len, FILES.values())) + len(FILES["config.json"])
    assert await tier.snapshots.publish(manifest(), MAIN) == sealed
    assert await tier.snapshots.discard(manifest().id) == len(FILES["config.json"])


async def test_a_refused_link_into_a_begun_directory_is_a_copy(tier: DirectoryTier, refuse: Refuse) -> None:
    await store(tier, *FILES.values())
    there = tier.snapshots.directory(manifest())
    there.mkdir(parents=True)
    (there / "config.json").write_bytes(b"wrong")
    refuse(errno.EMLINK, "")
    sealed = await tier.snapshots.publish(manifest(), MAIN)
    assert contents(there) == FILES
    assert sealed.unlinked_bytes == sum(map(len, FILES.values()))
    assert not sealed.adopted


async def test_a_tier_that_is_really_full_says_so(
    tier: DirectoryTier, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(tier, *FILES.values())
    refuse(errno.ENOSPC, "config.json")
    info = os.statvfs(tier.root)
    monkeypatch.setattr(os, "fstatvfs", lambda fd: os.statvfs_result((*info[:3], 0, 0, *info[5:])))
    with pytest.raises(OSError, match="No space left"):
        await tier.snapshots.publish(manifest(), MAIN)
    assert await tier.snapshots.scan() == []


async def test_a_copy_of_bytes_that_went_bad_is_not_sealed(tier: DirectoryTier, refuse: Refuse) -> None:
    await store(tier, *FILES.values())
    blob = tier.blobs.path(sha256(FILES["config.json"]))
    blob.chmod(0o644)
    blob.write_bytes(b"?" * len(FILES["config.json"]))
    refuse(errno.EPERM, "config.json")
    with pytest.raises(VerificationFailed):
        await tier.snapshots.publish(manifest(), MAIN)
    assert await tier.snapshots.scan() == []


async def test_a_blob_that_was_cut_short_is_not_linked(tier: DirectoryTier) -> None:
    await store(tier, *FILES.values())
    tier.blobs.path(sha256(FILES["config.json"])).write_bytes(b"")
    with pytest.raises(VerificationFailed):
        await tier.snapshots.publish(manifest(), MAIN)
    assert await tier.snapshots.scan() == []


async def test_a_blob_that_is_gone_asks_for_another_look(tier: DirectoryTier) -> None:
    await store(tier, *FILES.values())
    await tier.blobs.reclaim(sha256(FILES["config.json"]))
    with pytest.raises(BlobGone):
        await tier.snapshots.publish(manifest(), MAIN)
    await publish(tier, manifest())
    assert contents(tier.snapshots.directory(manifest())) == FILES


async def test_two_files_of_equal_bytes_share_one_blob(tier: DirectoryTier) -> None:
    files = {"a": b"same", "b/c": b"same", "empty": b"", "also-empty": b""}
    await publish(tier, manifest(files), files)
    assert contents(tier.snapshots.directory(manifest(files))) == files
    assert len(list(tier.layout.blobs.iterdir())) == 2


async def test_hub_blobs_that_cannot_be_linked_are_done_without(tier: DirectoryTier, refuse: Refuse) -> None:
    await store(tier, *FILES.values())
    refuse(errno.EMLINK, manifest().files[0].etag or "")
    sealed = await tier.snapshots.publish(manifest(), MAIN)
    assert contents(sealed.path) == FILES
    assert len(list((sealed.path.parent.parent / "blobs").iterdir())) == len(FILES) - 1
