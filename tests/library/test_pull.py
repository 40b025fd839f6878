"""Pull and promote: each byte comes from the origin once, and what is sealed is right."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cachemgr.domain.errors import NotFound, OriginUnavailable, TierUnavailable, Usage, VerificationFailed
from cachemgr.domain.ref import Ref
from cachemgr.library.pull import Wish
from tests.library.stage import BOTH, FILES, SIZE, Barrier, Floor, Hub, Library, Silent, flip, library, unlike
from tests.tiers.making import contents

LARGE = "model-1.safetensors"


async def test_a_pull_completes_on_the_volume_and_a_promotion_on_the_disk(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    pulled = await lib.pull(ref)
    assert (pulled.tier, pulled.bytes, pulled.fetched_bytes, pulled.reused_bytes) == ("volume", SIZE, SIZE, 0)
    assert contents(Path(pulled.path)) == FILES
    assert lib.on("disk") == set()
    promoted = await lib.pull(ref, "disk")
    assert (promoted.tier, promoted.fetched_bytes, promoted.reused_bytes) == ("disk", 0, SIZE)
    assert contents(Path(promoted.path)) == FILES
    assert hub.fetched() == {path: len(data) for path, data in FILES.items()}
    assert hub.resolved == 1, "a promotion promotes what is known"


async def test_both_tiers_are_written_in_one_pass(lib: Library, hub: Hub) -> None:
    promoted = await lib.pull(hub.add("acme/a"), "disk")
    assert promoted.fetched_bytes == SIZE
    assert lib.on("disk") == lib.on("volume") == {"a"}
    assert sum(hub.fetched().values()) == SIZE
    for tier in ("volume", "disk"):
        assert lib.sample("cachemgr_moved_bytes_total", direction=f"origin_to_{tier}") == SIZE
    assert lib.sample("cachemgr_moved_bytes_total", direction="volume_to_disk") == 0


async def test_moved_bytes_add_up_over_a_pull_and_a_promotion(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    await lib.pull(ref)
    await lib.pull(ref, "disk")
    assert lib.sample("cachemgr_moved_bytes_total", direction="origin_to_volume") == SIZE
    assert lib.sample("cachemgr_moved_bytes_total", direction="volume_to_disk") == SIZE
    assert lib.sample("cachemgr_moved_bytes_total", direction="origin_to_disk") == 0


async def test_what_only_the_disk_has_comes_to_the_volume_from_there(tmp_path: Path, hub: Hub) -> None:
    ref = hub.add("acme/a")
    async with library(tmp_path, hub, {"disk": Floor()}) as alone:
        assert (await alone.pull(ref)).tier == "disk"
    async with library(tmp_path, hub) as lib:
        pulled = await lib.pull(ref)
        assert (pulled.tier, pulled.fetched_bytes) == ("volume", 0)
        assert lib.sample("cachemgr_moved_bytes_total", direction="disk_to_volume") == SIZE
    assert sum(hub.fetched().values()) == SIZE


async def test_two_callers_share_one_fetch(lib: Library, hub: Hub) -> None:
    ref, barrier = hub.add("acme/a"), Barrier()
    hub.http.fail(hub.place(ref, LARGE), barrier)
    first = asyncio.create_task(lib.pull(ref))
    await barrier.asked()
    second = asyncio.create_task(lib.pull(ref, "disk"))
    third = asyncio.create_task(lib.pull(ref))
    await asyncio.sleep(0.05)
    barrier.open()
    done = await asyncio.gather(first, second, third)
    assert sum(hub.fetched().values()) == SIZE
    assert sum(pulled.fetched_bytes for pulled in done) == SIZE
    assert lib.on("disk") == lib.on("volume") == {"a"}


async def test_a_caller_that_is_cancelled_leaves_the_fetch_to_the_others(lib: Library, hub: Hub) -> None:
    ref, barrier = hub.add("acme/a"), Barrier()
    hub.http.fail(hub.place(ref, LARGE), barrier)
    first = asyncio.create_task(lib.pull(ref))
    await barrier.asked()
    second = asyncio.create_task(lib.pull(ref))
    await asyncio.sleep(0.05)
    first.cancel()
    barrier.open()
    pulled = await second
    assert contents(Path(pulled.path)) == FILES
    assert first.cancelled() or await asyncio.wait([first])
    usage = lib["volume"].space.usage()
    assert (usage.used_bytes, usage.reserved_bytes) == (SIZE, 0)


async def test_a_lonely_caller_that_is_cancelled_leaves_nothing_running_and_nothing_promised(
    lib: Library, hub: Hub
) -> None:
    ref, barrier = hub.add("acme/a"), Barrier()
    hub.http.fail(hub.place(ref, LARGE), barrier)
    caller = asyncio.create_task(lib.pull(ref))
    await barrier.asked()
    caller.cancel()
    await asyncio.wait([caller])
    barrier.open()
    assert lib.on("volume") == set()
    assert lib["volume"].space.usage().reserved_bytes == 0
    assert contents(Path((await lib.pull(ref)).path)) == FILES


async def test_two_filters_of_one_revision_at_once_fetch_each_file_once(lib: Library, hub: Hub) -> None:
    ref, barrier = hub.add("acme/a"), Barrier()
    hub.http.fail(hub.place(ref, LARGE), barrier)
    narrow = asyncio.create_task(lib.pull(ref, include=("*.json", LARGE)))
    await barrier.asked()
    whole = asyncio.create_task(lib.pull(ref))
    await asyncio.sleep(0.05)
    barrier.open()
    first, second = await asyncio.gather(narrow, whole)
    assert (first.files, second.files) == (2, 5)
    assert sum(hub.fetched().values()) == SIZE
    assert contents(Path(second.path)) == FILES


async def test_two_requests_for_one_model_need_its_space_once(tmp_path: Path, hub: Hub) -> None:
    marks = Floor().marks.__class__(SIZE, SIZE + 1000, SIZE + 1000, 0)
    ref, barrier = hub.add("acme/a"), Barrier()
    hub.http.fail(hub.place(ref, LARGE), barrier)
    async with library(tmp_path, hub, {"disk": Floor(marks), "volume": Floor()}) as lib:
        first = asyncio.create_task(lib.pull(ref, "disk"))
        await barrier.asked()
        second = asyncio.create_task(lib.pull(ref, "disk"))
        await asyncio.sleep(0.05)
        barrier.open()
        await asyncio.gather(first, second)
        assert lib.on("disk") == {"a"}
        assert lib["disk"].space.usage().reserved_bytes == 0


async def test_the_same_bytes_under_two_names_take_their_space_once(tmp_path: Path, hub: Hub) -> None:
    twice = {"a.bin": b"x" * 9000, "b/same.bin": b"x" * 9000}
    marks = Floor().marks.__class__(9000, 10_000, 10_000, 0)
    progress = Silent()
    async with library(tmp_path, hub, {"disk": Floor(marks)}) as lib:
        pulled = await lib.puller.pull(Wish(hub.add("acme/twice", twice)), progress)
        assert contents(Path(pulled.path)) == twice
        assert (pulled.bytes, pulled.fetched_bytes) == (18_000, 9000)
        assert (progress.expected, progress.done, progress.files_done) == (9000, 9000, 1)


async def test_a_new_commit_brings_only_what_changed(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    await lib.pull(ref, "disk")
    hub.http.bytes_sent.clear()
    hub.add("acme/a", {**FILES, "config.json": b"{}"})
    pulled = await lib.pull(ref)
    assert hub.fetched() == {"config.json": 2}
    assert (pulled.fetched_bytes, pulled.reused_bytes) == (2, pulled.bytes - 2)


async def test_wrong_bytes_are_not_sealed_and_the_next_pull_brings_only_that_file(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    hub.http.fail(hub.place(ref, "model-2.safetensors"), flip)
    with pytest.raises(VerificationFailed) as failure:
        await lib.pull(ref)
    assert failure.value.fields["file"] == "model-2.safetensors"
    assert lib.on("volume") == set()
    assert lib.sample("cachemgr_verification_failures_total", stage="pull") == 1
    with pytest.raises(NotFound):
        await lib.acquire(ref, wait=0)
    hub.http.bytes_sent.clear()
    assert contents(Path((await lib.pull(ref)).path)) == FILES
    assert set(hub.fetched()) == {"model-2.safetensors"}


async def test_a_resume_that_ends_wrong_is_fetched_whole_once(lib: Library, hub: Hub) -> None:
    data = b"large" * 2_000_000
    ref = hub.add("acme/a", {"model.bin": data})
    manifest = await hub.resolve(ref)
    blobs = lib["volume"].blobs
    key = manifest.files[0].digest.value
    async with blobs.part(key, len(data)) as part:  # what a writer left that was interrupted: its bytes went bad
        part.target.path.write_bytes(b"x" * len(data))
        part.record(4_000_000)
    progress = Silent()
    pulled = await lib.puller.pull(Wish(ref), progress)
    assert contents(Path(pulled.path)) == {"model.bin": data}
    assert progress.done == len(data)
    assert len(data) < hub.fetched()["model.bin"] < 2 * len(data)


async def test_bytes_of_a_resume_did_not_come_from_the_origin(lib: Library, hub: Hub) -> None:
    data = b"large" * 2_000_000
    ref = hub.add("acme/a", {"model.bin": data})
    key = (await hub.resolve(ref)).files[0].digest.value
    async with lib["volume"].blobs.part(key, len(data)) as part:
        part.target.path.write_bytes(data)
        part.record(8_192_000)
    pulled = await lib.pull(ref)
    assert contents(Path(pulled.path)) == {"model.bin": data}
    fetched = hub.fetched()["model.bin"]
    assert fetched < len(data) // 2
    assert lib.sample("cachemgr_moved_bytes_total", direction="origin_to_volume") == fetched
    assert pulled.fetched_bytes == fetched


async def test_a_filtered_pull_is_widened_later(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    narrow = await lib.pull(ref, include=("tokenizer/",))
    assert narrow.files == 2
    assert set(contents(Path(narrow.path))) == {"tokenizer/vocab.txt", "tokenizer/merges.txt"}
    whole = await lib.pull(ref)
    assert whole.fetched_bytes == SIZE - 8
    assert contents(Path(whole.path)) == FILES


async def test_a_read_only_volume_is_read_and_the_disk_is_filled_from_it(tmp_path: Path, hub: Hub) -> None:
    ref = hub.add("acme/a")
    async with library(tmp_path, hub, {"volume": Floor()}) as before:
        await before.pull(ref)
    async with library(tmp_path, hub, {"disk": Floor(), "volume": Floor(writable=False)}) as lib:
        pulled = await lib.pull(ref)
        assert (pulled.tier, pulled.fetched_bytes) == ("disk", 0)
        assert contents(Path(pulled.path)) == FILES


async def test_a_disk_that_cannot_be_written_is_said_so(tmp_path: Path, hub: Hub) -> None:
    async with library(tmp_path, hub, {"disk": Floor(writable=False), "volume": Floor()}) as lib:
        ref = hub.add("acme/a")
        with pytest.raises(TierUnavailable):
            await lib.pull(ref, "disk")
        assert (await lib.pull(ref)).tier == "volume"
        assert (await lib.acquire(ref)).tier == "volume"
    async with library(tmp_path, hub, {"disk": Floor(writable=False)}) as lib:
        with pytest.raises(TierUnavailable):
            await lib.pull(ref)


async def test_an_origin_that_is_away_fails_a_pull_unless_stale_will_do(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    before = await lib.pull(ref)
    hub.away = True
    with pytest.raises(OriginUnavailable):
        await lib.pull(ref)
    stale = await lib.pull(ref, allow_stale=True)
    assert (stale.stale, stale.path, stale.resolved_at) == (True, before.path, before.resolved_at)
    with pytest.raises(OriginUnavailable):
        await lib.pull("hf://acme/never", allow_stale=True)


async def test_a_sealed_commit_needs_no_origin(lib: Library, hub: Hub) -> None:
    pulled = await lib.pull(hub.add("acme/a"))
    hub.away = True
    again = await lib.pull(f"hf://acme/a@{pulled.revision}")
    assert (again.path, again.stale, again.fetched_bytes) == (pulled.path, False, 0)


async def test_a_ref_is_remembered_once_it_is_sealed_and_not_before(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    hub.http.fail(hub.place(ref, LARGE), flip)
    with pytest.raises(VerificationFailed):
        await lib.pull(ref)
    for shelf in lib.shelves:
        assert await shelf.tier.refs.all() == []
    pulled = await lib.pull(ref)
    for shelf in lib.shelves:  # everywhere: a reader who looks at the disk first must not find an older note there
        note = await shelf.tier.refs.recall(ref)
        assert note is not None
        assert note.revision == pulled.revision


async def test_a_promotion_does_not_make_a_resolution_younger(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    await lib.pull(ref)
    note = await lib["volume"].tier.refs.recall(ref)
    assert note is not None
    promoted = await lib.pull(ref, "disk")
    copied = await lib["disk"].tier.refs.recall(ref)
    assert copied is not None
    assert copied.at == note.at
    answer = await lib.acquire(ref)
    assert answer.resolved_at == promoted.resolved_at


async def test_a_slow_promotion_does_not_move_a_ref_back(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    first, barrier = await lib.pull(ref), Barrier()
    second_files = {**FILES, LARGE: b"new" * 7000}
    async with lib["disk"].holds.exclusive(first.id):  # the promotion waits before it may seal
        promotion = asyncio.create_task(lib.pull(ref, "disk"))
        await asyncio.sleep(0.05)
        hub.add("acme/a", second_files)
        second = await lib.pull(ref)
        barrier.open()
    await promotion
    known = await lib.resolver.recall(ref)
    assert known is not None
    assert known.manifest.revision == second.revision


async def test_a_path_in_a_ref_is_a_name_and_no_pattern(lib: Library, hub: Hub) -> None:
    files = {"a[1].txt": b"one", "a1.txt": b"other", "sub[x]/f": b"two", "sub/f": b"no"}
    hub.add("acme/odd", files)
    pulled = await lib.pull("hf://acme/odd/a[1].txt")
    assert Path(pulled.path).name == "a[1].txt"
    assert contents(Path(pulled.path).parent) == {"a[1].txt": b"one"}
    folder = await lib.pull("hf://acme/odd/sub[x]")
    assert contents(Path(folder.path)) == {"f": b"two"}
    with pytest.raises(NotFound):
        await lib.pull("hf://acme/odd/nothing")


async def test_what_makes_no_sense_is_usage(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    with pytest.raises(Usage):
        await lib.pull(ref, "moon")
    with pytest.raises(Usage):
        await lib.pull(ref, include=("*.none",))
    with pytest.raises(NotFound):
        await lib.pull(Ref.parse("hf://acme/b"))


async def test_models_that_share_files_share_bytes(lib: Library, hub: Hub) -> None:
    other = {**unlike("other"), LARGE: FILES[LARGE], "config.json": FILES["config.json"]}
    await lib.pull(hub.add("acme/a"))
    pulled = await lib.pull(hub.add("acme/b", other))
    assert pulled.reused_bytes == len(FILES[LARGE]) + len(FILES["config.json"])
    assert lib["volume"].space.usage().used_bytes == 2 * SIZE - pulled.reused_bytes
    assert BOTH["disk"].writable
