"""On a disk without a single free block a tier opens, answers, removes, and is then of use again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cachemgr.aio.iopool import IoPool
from cachemgr.domain.errors import CachemgrError
from cachemgr.moving.plane import DataPlane
from cachemgr.tiers.directory import DirectoryTier
from tests.services.disk import sized_disk
from tests.tiers import writing
from tests.tiers.making import COMMIT, MAIN, OTHER, contents, manifest, publish

MIB = 1 << 20
FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 4096 * 8}
NEXT = {**FILES, "config.json": b'{"next": 1}', "more.safetensors": b"more" * MIB}


def append_for_ever(path: Path, data: bytes) -> None:
    with path.open("ab", buffering=0) as stream:
        while True:
            stream.write(data)


def fill_up(disk: Path) -> Path:
    """Take every block and leave nothing."""
    junk = disk / "junk"
    for size in (MIB, 4096, 1):
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            append_for_ever(junk, b"x" * size)
    os.sync()
    return junk


@pytest.mark.integration
async def test_a_disk_that_is_full_can_be_cleared_and_used_again(pool: IoPool, plane: DataPlane) -> None:
    with sized_disk(32 * MIB) as disk:
        tier = await DirectoryTier.open("disk", disk / "tier", pool, plane, local=True)
        await publish(tier, manifest(FILES), FILES)
        junk = fill_up(disk)
        full = await DirectoryTier.open("disk", disk / "tier", pool, plane, local=True)
        assert full.writable
        with pytest.raises((OSError, CachemgrError)):
            await publish(full, manifest(NEXT, OTHER), NEXT)
        assert [sealed.manifest.revision for sealed in await full.snapshots.scan()] == [COMMIT]
        await full.sweep(writing.alone)
        await full.snapshots.discard(manifest(FILES).id)
        for digest, _ in await full.blobs.reclaimable():
            await full.blobs.reclaim(digest)
        assert await full.measure() == 0
        junk.unlink()
        await publish(full, manifest(NEXT, OTHER), NEXT, MAIN)
        (sealed,) = await full.snapshots.scan()
        assert contents(sealed.path) == NEXT
