"""Acquire: a verified directory, held, from the fastest tier that can have it in time; and what lists it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from cachemgr.domain.errors import DeadlineExceeded, NoSpace, NotFound, OriginUnavailable, TierUnavailable, Usage
from cachemgr.domain.marks import Watermarks
from cachemgr.domain.ref import Ref
from cachemgr.library.holding import Holding
from cachemgr.tiers.holds import Hold
from tests.library.stage import FILES, SIZE, UNLIMITED, Barrier, Floor, Hub, Library, library, unlike
from tests.tiers.making import contents

TINY = Watermarks(10, 20, 30, 0)


def results(lib: Library) -> dict[str, float]:
    counted = {name: lib.sample("cachemgr_requests_total", result=name) for name in ("hit_disk", "hit_volume")}
    return counted | {name: lib.sample("cachemgr_requests_total", result=name) for name in ("miss", "error")}


async def test_what_is_not_there_is_brought_once_for_all_who_ask(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    answers = await asyncio.gather(*(lib.acquire(ref) for _ in range(4)))
    assert {answer.tier for answer in answers} == {"disk"}
    assert contents(Path(answers[0].path)) == FILES
    assert sum(hub.fetched().values()) == SIZE
    assert len(lib.transfers.list()) == 1
    assert len({answer.hold for answer in answers}) == len(lib.holding) == 4
    assert hub.resolved == 1


async def test_each_request_is_counted_by_where_it_was_found(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    await lib.acquire(ref, "volume")
    await lib.acquire(ref, "volume", wait=0)
    await lib.acquire(ref)
    await lib.acquire(ref)
    with pytest.raises(NotFound):
        await lib.acquire(hub.add("acme/b"), wait=0)
    hub.away = True
    with pytest.raises(OriginUnavailable):
        await lib.acquire(hub.add("acme/c"))
    assert results(lib) == {"hit_disk": 1, "hit_volume": 1, "miss": 3, "error": 1}


async def test_a_look_never_moves_anything(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    with pytest.raises(NotFound):
        await lib.acquire(ref, wait=0)
    await lib.pull(ref)
    assert (await lib.acquire(ref, wait=0)).tier == "volume"
    with pytest.raises(NotFound):
        await lib.acquire(ref, "disk", wait=0)
    assert lib.transfers.list() == []


async def test_any_tier_means_the_volume_where_the_disk_is_too_small(tmp_path: Path, hub: Hub) -> None:
    async with library(tmp_path, hub, {"disk": Floor(TINY), "volume": Floor(UNLIMITED)}) as lib:
        ref = hub.add("acme/a")
        answer = await lib.acquire(ref)
        assert answer.tier == "volume"
        assert contents(Path(answer.path)) == FILES
        with pytest.raises(NoSpace):
            await lib.acquire(ref, "disk")


async def test_a_deadline_is_kept_and_the_work_goes_on_for_the_next(lib: Library, hub: Hub) -> None:
    ref, barrier = hub.add("acme/a"), Barrier()
    hub.http.fail(hub.place(ref, "model-1.safetensors"), barrier)
    began = asyncio.get_running_loop().time()
    with pytest.raises(DeadlineExceeded):
        await lib.acquire(ref, wait=0.2)
    assert asyncio.get_running_loop().time() - began < 2
    barrier.open()
    assert (await lib.acquire(ref)).tier == "disk"
    assert sum(hub.fetched().values()) == SIZE


async def test_a_disk_that_is_late_leaves_the_volumes_path(tmp_path: Path, hub: Hub) -> None:
    async with library(tmp_path, hub) as lib:
        ref = hub.add("acme/a")
        pulled = await lib.pull(ref)
        async with lib["disk"].holds.exclusive(pulled.id):  # no promotion can end now
            answer = asyncio.create_task(lib.acquire(ref, wait=0.3))
            await asyncio.sleep(0.5)
        assert (await answer).tier in ("volume", "disk")


async def test_a_tier_that_is_not_there_is_said_at_once(tmp_path: Path, hub: Hub) -> None:
    ref = hub.add("acme/a")
    async with library(tmp_path, hub, {"disk": Floor()}) as lib:
        with pytest.raises(TierUnavailable):
            await lib.acquire(ref, "volume")
        with pytest.raises(Usage):
            await lib.acquire(ref, "moon")
        assert lib.transfers.list() == []
    async with library(tmp_path / "other", hub, {"disk": Floor(), "volume": Floor(writable=False)}) as lib:
        with pytest.raises(TierUnavailable):
            await lib.acquire(ref, "volume")


async def test_max_age_asks_again_and_an_origin_that_is_away_makes_the_answer_stale(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    first = await lib.acquire(ref)
    assert (await lib.acquire(ref, max_age=3600)).resolved_at == first.resolved_at
    assert hub.resolved == 1
    hub.add("acme/a", {**FILES, "config.json": b"{}"})
    assert (await lib.acquire(ref)).id == first.id
    second = await lib.acquire(ref, max_age=0)
    assert second.id != first.id
    assert not second.stale
    hub.away = True
    third = await lib.acquire(ref, max_age=0)
    assert (third.id, third.resolved_at, third.stale) == (second.id, second.resolved_at, True)
    assert not (await lib.acquire(ref)).stale
    fixed = await lib.acquire(Ref.parse(f"hf://acme/a@{first.revision}"), max_age=0)
    assert (fixed.id, fixed.stale) == (first.id, False)


async def test_a_ref_with_a_path_is_the_file_or_the_folder(lib: Library, hub: Hub) -> None:
    hub.add("acme/a")
    file = await lib.acquire(Ref.parse("hf://acme/a/tokenizer/vocab.txt"))
    assert file.path.endswith("/tokenizer/vocab.txt")
    assert set(hub.fetched()) == {"tokenizer/vocab.txt"}
    folder = await lib.acquire(Ref.parse("hf://acme/a/tokenizer"))
    assert set(contents(Path(folder.path))) == {"vocab.txt", "merges.txt"}
    whole = await lib.acquire(Ref.parse("hf://acme/a"))
    assert contents(Path(whole.path)) == FILES
    with pytest.raises(NotFound):
        await lib.acquire(Ref.parse("hf://acme/a/missing.bin"))


async def test_a_hold_ends_at_its_deadline_or_when_it_is_given_back(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    kept, short = await lib.acquire(ref, hold=60), await lib.acquire(ref, hold=0.05)
    unheld = await lib.acquire(ref, hold=0)
    assert unheld.hold is unheld.expires_at is None
    assert kept.hold is not None
    assert short.hold is not None
    await asyncio.sleep(0.1)
    lib.holding.expire()
    assert len(lib.holding) == 1
    with pytest.raises(NotFound):
        await lib.models.renew(short.hold, 60)
    assert await lib.models.renew(kept.hold, 3600) > str(kept.expires_at)
    assert await lib["disk"].holds.held() == {kept.id}
    await lib.models.release(kept.hold)
    assert await lib["disk"].holds.held() == frozenset()
    with pytest.raises(NotFound):
        await lib.models.release(kept.hold)


def test_closing_ends_every_hold_once() -> None:
    ended: list[str] = []

    def end(name: str) -> Callable[[], None]:
        return lambda: ended.append(name)

    holding = Holding()
    for name in ("a", "b"):
        holding.grant(Hold(name, end(name)), name, 60)
    holding.close()
    holding.close()
    assert ended == ["a", "b"]


async def test_a_list_says_what_is_where(lib: Library, hub: Hub) -> None:
    a, b = hub.add("acme/a", unlike("a")), hub.add("acme/b", unlike("b"))
    await lib.pull(a)
    held = await lib.acquire(b)
    rows = {(row.ref, row.tier): row for row in await lib.models.listed(None, None)}
    assert set(rows) == {(str(a), "volume"), (str(b), "volume"), (str(b), "disk")}
    row = rows[str(b), "disk"]
    assert (row.held, row.pinned, row.adopted, row.bytes, row.files) == (True, False, False, SIZE, 5)
    assert (await lib.models.listed("disk", None))[0].id == held.id
    assert [row.tier for row in await lib.models.listed(None, held.id)] == ["disk", "volume"]
    assert (await lib.models.pin(str(b), "disk"))[0].pinned
    for nothing in ("hf--acme--none--" + "0" * 40, "hf://acme/none"):
        with pytest.raises(NotFound):
            await lib.models.listed(None, nothing)
    with pytest.raises(Usage):
        await lib.models.listed(None, "../../etc/passwd")
    with pytest.raises(NotFound):
        await lib.models.listed("moon", None)


async def test_what_another_worker_sealed_on_the_volume_is_found(tmp_path: Path, hub: Hub) -> None:
    ref = hub.add("acme/a")
    async with library(tmp_path, hub) as lib, library(tmp_path, hub, {"volume": Floor()}) as other:
        await other.pull(ref)
        answer = await lib.acquire(ref)
        assert answer.tier == "disk"
        assert sum(hub.fetched().values()) == SIZE
