"""Eviction: room for what comes, from what was used least recently, never from what somebody needs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cachemgr.domain.errors import Held, NoSpace, NotFound, TierUnavailable, Usage
from cachemgr.domain.manifest import Entry
from cachemgr.domain.marks import Watermarks
from cachemgr.domain.ref import Ref
from tests.library.stage import FILES, SIZE, Barrier, Floor, Hub, Library, library, unlike
from tests.tiers.making import contents, filled, sha256, store

TWO_FIT = Watermarks(2 * SIZE, 2 * SIZE + 100, 2 * SIZE + 200, 0)


@pytest.fixture
async def small(tmp_path: Path, hub: Hub) -> AsyncIterator[Library]:
    """A disk that takes two models."""
    async with library(tmp_path, hub, {"disk": Floor(TWO_FIT), "volume": Floor()}) as it:
        yield it


def models(hub: Hub, *names: str) -> list[Ref]:
    return [hub.add(f"acme/{name}", unlike(name)) for name in names]


def age(lib: Library, seconds: dict[str, float]) -> None:
    """Make each model's last use so many seconds ago."""
    for path in lib["disk"].tier.root.glob(".cachemgr/used/*"):
        then = path.stat().st_mtime - seconds.get(path.name.split("--")[2], 0.0)
        os.utime(path, (then, then))


async def test_the_least_recently_used_leaves(small: Library, hub: Hub) -> None:
    a, b, c = models(hub, "a", "b", "c")
    for ref in (a, b):
        await small.pull(ref, "disk")
    age(small, {"a": 10, "b": 20})
    await small.pull(c, "disk")
    assert small.on("disk") == {"a", "c"}
    assert small.on("volume") == {"a", "b", "c"}
    assert small.sample("cachemgr_evictions_total", reason="pressure") == 1
    assert small.sample("cachemgr_evicted_bytes_total") == SIZE
    assert small["disk"].space.usage().used_bytes == 2 * SIZE


async def test_held_and_pinned_models_stay_and_the_refusal_has_the_right_numbers(small: Library, hub: Hub) -> None:
    a, b, c = models(hub, "a", "b", "c")
    held = await small.acquire(a)
    await small.pull(b, "disk")
    await small.models.pin(str(b), "disk")
    hub.http.bytes_sent.clear()
    with pytest.raises(NoSpace) as failure:
        await small.pull(c, "disk")
    assert failure.value.fields["needed_bytes"] == SIZE
    assert failure.value.fields["free_bytes"] == 200
    assert failure.value.fields["evictable_bytes"] == 0
    assert hub.fetched() == {}, "not a byte was fetched"
    assert small.on("disk") == {"a", "b"}
    assert held.hold is not None
    await small.models.release(held.hold)
    await small.pull(c, "disk")
    assert small.on("disk") == {"b", "c"}


async def test_nothing_is_evicted_for_what_can_never_fit(small: Library, hub: Hub) -> None:
    for ref in models(hub, "a", "b"):
        await small.pull(ref, "disk")
    huge = hub.add("acme/huge", {"model.bin": b"x" * (2 * SIZE + 300)})
    with pytest.raises(NoSpace) as failure:
        await small.pull(huge, "disk")
    assert failure.value.fields["needed_bytes"] == 2 * SIZE + 300
    assert failure.value.fields["evictable_bytes"] == 2 * SIZE
    assert small.on("disk") == {"a", "b"}
    assert small["disk"].space.usage().reserved_bytes == 0


async def test_what_models_share_leaves_with_the_last_of_them(small: Library, hub: Hub) -> None:
    (a,) = models(hub, "a")
    await small.pull(a, "disk")
    sharing = hub.add("acme/s", {**unlike("a"), "config.json": b"{}"})
    await small.pull(sharing, "disk")
    removed = await small.models.evict("disk", a, None, dry_run=False)
    assert removed.freed_bytes == len(FILES["config.json"])
    held = await small.acquire(sharing, "disk")
    assert contents(Path(held.path)) == {**unlike("a"), "config.json": b"{}"}


async def test_a_model_that_the_user_had_there_stays(tmp_path: Path, hub: Hub) -> None:
    a, b, c = models(hub, "a", "b", "c")
    revision = (await hub.resolve(a)).revision
    theirs = tmp_path / "disk/huggingface-cache/hub/models--acme--a/snapshots" / revision
    for path, data in unlike("a").items():
        (theirs / path).parent.mkdir(parents=True, exist_ok=True)
        (theirs / path).write_bytes(data)
    marks = Watermarks(3 * SIZE, 3 * SIZE + 100, 3 * SIZE + 200, 0)  # theirs, and the blobs that we have of it, and one
    async with library(tmp_path, hub, {"disk": Floor(marks), "volume": Floor()}) as lib:
        await lib.pull(a, "disk")
        await lib.pull(b, "disk")
        age(lib, {"a": 1000})
        await lib.pull(c, "disk")
        assert lib.on("disk") == {"a", "c"}
        assert [row.adopted for row in await lib.models.listed("disk", str(a))] == [True]
        assert contents(theirs) == unlike("a")


async def test_files_that_nothing_links_go_before_any_model(small: Library, hub: Hub) -> None:
    a, b = models(hub, "a", "b")
    await small.pull(a, "disk")
    await store(small["disk"].tier, b"w" * SIZE)  # type: ignore[arg-type]  # the real tier behind the port
    await small.pull(b, "disk")
    assert small.on("disk") == {"a", "b"}
    assert small["disk"].space.usage().used_bytes == 2 * SIZE
    assert small.sample("cachemgr_evictions_total", reason="pressure") == 0


async def test_what_a_dead_writer_left_goes_before_any_model(small: Library, hub: Hub) -> None:
    a, b = models(hub, "a", "b")
    await small.pull(a, "disk")
    async with filled(small["disk"].tier, b"half" * (SIZE // 4)):  # type: ignore[arg-type]  # as above
        pass
    await small["disk"].space.refresh()
    assert small["disk"].space.usage().used_bytes > SIZE
    await small.pull(b, "disk")
    assert small.on("disk") == {"a", "b"}


async def test_small_files_are_kept_between_their_arrival_and_the_seal(lib: Library, hub: Hub) -> None:
    ref, barrier = hub.add("acme/a"), Barrier()
    hub.http.fail(hub.place(ref, "model-1.safetensors"), barrier)
    pulling = asyncio.create_task(lib.pull(ref))
    await barrier.asked()
    wanted = sha256(FILES["config.json"])
    # Nobody tells when a small file has arrived.
    while await lib["volume"].locate({wanted.value: Entry("config.json", len(FILES["config.json"]), wanted)}) == {}:  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.005)
    assert await lib["volume"].reclaim() == 0
    barrier.open()
    pulled = await pulling
    assert contents(Path(pulled.path)) == FILES
    assert sum(hub.fetched().values()) == SIZE
    assert lib["volume"].wanted_blobs() == frozenset()


async def test_a_blob_that_is_taken_before_the_seal_is_brought_again(lib: Library, hub: Hub) -> None:
    ref, barrier = hub.add("acme/a"), Barrier()
    hub.http.fail(hub.place(ref, "model-1.safetensors"), barrier)
    pulling = asyncio.create_task(lib.pull(ref))
    await barrier.asked()
    digest = sha256(FILES["config.json"])
    while not await lib["volume"].blobs.reclaim(digest):  # noqa: ASYNC110 - another worker, which cannot know
        await asyncio.sleep(0.005)
    barrier.open()
    assert contents(Path((await pulling).path)) == FILES
    assert hub.fetched()["config.json"] == 2 * len(FILES["config.json"])


async def test_readers_and_evictions_at_once_never_lose_a_held_model(small: Library, hub: Hub) -> None:
    refs = models(hub, "a", "b", "c", "d")
    for ref in refs:
        await small.pull(ref)

    async def read(ref: Ref, name: str) -> int:
        held = 0
        for _ in range(6):
            try:
                answer = await small.acquire(ref, "disk")
            except NoSpace:
                continue  # the others hold all of it: an honest answer
            assert answer.hold is not None
            await asyncio.sleep(0.01)
            assert contents(Path(answer.path)) == unlike(name)
            await small.models.release(answer.hold)
            held += 1
        return held

    held = await asyncio.gather(*(read(ref, ref.name.split("/")[1]) for ref in refs))
    assert sum(held) > 0
    assert small["disk"].space.usage().reserved_bytes == 0
    assert len(small.holding) == 0


async def test_an_eviction_by_hand_says_what_it_would_do_and_does_it(small: Library, hub: Hub) -> None:
    a, b = models(hub, "a", "b")
    for ref in (a, b):
        await small.pull(ref, "disk")
    age(small, {"a": 10})
    for wanted, gone in ((1, {"a"}), (10 * SIZE, {"b"})):
        before = small.on("disk")
        promised = await small.models.evict("disk", None, wanted, dry_run=True)
        assert small.on("disk") == before
        done = await small.models.evict("disk", None, wanted, dry_run=False)
        assert (done.ids, done.freed_bytes) == (promised.ids, promised.freed_bytes)
        assert before - small.on("disk") == gone
    assert small.sample("cachemgr_evictions_total", reason="request") == 2


async def test_nothing_held_or_pinned_is_removed_from_any_tier(small: Library, hub: Hub) -> None:
    (a,) = models(hub, "a")
    held = await small.acquire(a, "disk")
    with pytest.raises(Held):
        await small.models.remove(str(a), None, dry_run=False)
    assert small.on("disk") == small.on("volume") == {"a"}
    assert held.hold is not None
    await small.models.release(held.hold)
    await small.models.pin(str(a), "volume")
    with pytest.raises(Held):
        await small.models.remove(str(a), None, dry_run=False)
    await small.models.unpin(str(a), "volume")
    promised = await small.models.remove(str(a), None, dry_run=True)
    removed = await small.models.remove(str(a), None, dry_run=False)
    assert removed.freed_bytes == promised.freed_bytes == 2 * SIZE
    assert small.on("disk") == small.on("volume") == set()
    with pytest.raises(NotFound):
        await small.models.remove(str(a), None, dry_run=False)


async def test_what_cannot_be_removed_from_is_said_so(tmp_path: Path, hub: Hub) -> None:
    (a,) = models(hub, "a")
    async with library(tmp_path, hub, {"volume": Floor()}) as before:
        await before.pull(a)
    async with library(tmp_path, hub, {"disk": Floor(), "volume": Floor(writable=False)}) as lib:
        with pytest.raises(TierUnavailable):
            await lib.models.remove(str(a), "volume", dry_run=False)
        with pytest.raises(Usage):
            await lib.models.evict("volume", None, None, dry_run=False)
