"""Run as a program with the two mount points of a volume: what one host publishes is whole for the other."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from cachemgr.aio.iopool import IoPool
from cachemgr.moving.plane import DataPlane
from cachemgr.tiers.directory import DirectoryTier
from tests.tiers.making import FILES, MAIN, OTHER, contents, manifest, publish, store

NEXT = {**FILES, "config.json": b'{"next": 1}'}


@asynccontextmanager
async def opened(root: Path) -> AsyncIterator[DirectoryTier]:
    pool, plane = IoPool(4, "tier"), DataPlane(1)
    try:
        yield await DirectoryTier.open("volume", root, pool, plane, local=False)
    finally:
        plane.close()
        pool.close()


def a_directory_never_replaces_one_that_has_something(root: Path) -> None:
    """Publishing relies on it: whoever is second must not destroy what is there."""
    source, full, empty = root / "source", root / "full", root / "empty"
    for path in (source, full, empty):
        path.mkdir()
    (full / "theirs").write_text("theirs")
    try:
        os.rename(source, full)
    except OSError:
        pass
    else:
        raise AssertionError("a directory with something in it was replaced")
    assert (full / "theirs").read_text() == "theirs"
    os.rename(source, empty)


async def one_publishes_the_other_reads(a: DirectoryTier, b: DirectoryTier) -> None:
    await publish(a, manifest())
    (sealed,) = await b.snapshots.scan()
    assert (contents(sealed.path), sealed.adopted) == (FILES, False)
    assert (await b.refs.recall(MAIN)) is not None
    await b.snapshots.publish(manifest(), MAIN)
    assert await a.snapshots.find(manifest().id) is not None


async def both_publish_at_once(a: DirectoryTier, b: DirectoryTier) -> None:
    for number in range(5):
        made = manifest(NEXT, f"{number:040x}")
        await asyncio.gather(*(store(tier, *NEXT.values()) for tier in (a, b)))
        await asyncio.gather(*(tier.snapshots.publish(made, MAIN) for tier in (a, b)))
        for tier in (a, b):
            sealed = await tier.snapshots.find(made.id)
            assert sealed is not None
            assert (contents(sealed.path), sealed.adopted) == (NEXT, False)


async def one_removes_what_the_other_published(a: DirectoryTier, b: DirectoryTier) -> None:
    for sealed in await b.snapshots.scan():
        await b.snapshots.discard(sealed.manifest.id)
    assert await a.snapshots.scan() == []
    await asyncio.sleep(1.1)  # the other host may keep link counts for a second
    for digest, _ in await a.blobs.reclaimable():
        await a.blobs.reclaim(digest)
    assert await a.measure() == 0
    assert list(a.layout.blobs.iterdir()) == []


async def one_fills_what_the_other_left(a: DirectoryTier, b: DirectoryTier) -> None:
    there = a.snapshots.directory(manifest(revision=OTHER))
    (there / "original").mkdir(parents=True)
    (there / "config.json").symlink_to("../../blobs/nowhere")
    (there / "original/params.json").write_bytes(b"[]")
    await publish(b, manifest(revision=OTHER))
    assert contents(there) == FILES


async def main(first: str, second: str) -> None:
    a_directory_never_replaces_one_that_has_something(Path(first))
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(opened(Path(first) / "tier"))
        b = await stack.enter_async_context(opened(Path(second) / "tier"))
        await one_publishes_the_other_reads(a, b)
        await both_publish_at_once(a, b)
        await one_removes_what_the_other_published(a, b)
        await one_fills_what_the_other_left(a, b)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
