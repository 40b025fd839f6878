"""Numbers and places in a run: every push has its own, whoever races it or died before it."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from pathlib import Path

import pytest

from cachemgr.domain.checkpoint_keys import Announcement, Record
from cachemgr.domain.errors import Held, VerificationFailed
from cachemgr.tiers.owner import Owner
from tests.checkpoints.runs import Run, same, write_checkpoint
from tests.services.s3_faults import Fault, FaultyStore
from tests.services.stores import open_rooms, uploads

pytestmark = pytest.mark.integration

ELSEWHERE = "0123456789abcdef" * 2 + "-4026531836-77-12345-" + "fedcba9876543210"


def ended() -> str:
    """The name of a writer of this host whose process is gone."""
    here = Owner.current()
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return f"{here.boot}-{here.pid_namespace}-{child}-1-{'ab' * 8}"


async def leave(run: Run, seq: int, name: str, data: str | None, *, writer: str, publishing: bool = False) -> None:
    """Leave what an unfinished push leaves: an announcement and a file of it."""
    document = {"version": 1, "seq": seq, "name": name, "data": data, "publishing": publishing}
    await run.bucket.put(f"run/{Announcement(seq, writer, name).key}", json.dumps(document).encode())
    if data is not None:
        await run.bucket.put(f"run/{data}/config.json", b"left behind")


async def writing(run: Run) -> int:
    return len(await run.bucket.listed("run/.cachemgr/writing/"))


async def test_pushes_that_race_have_numbers_and_places_of_their_own(run: Run, tmp_path: Path) -> None:
    sources = [write_checkpoint(tmp_path / f"{n}" / f"checkpoint-{n % 2}", 1000) for n in range(5)]
    async with open_rooms(run.rooms.server) as other_rooms:
        other = Run(other_rooms, await other_rooms.buckets.open(run.bucket.where().removeprefix("s3://")))
        pushes = [(other if n % 2 else run).push(source) for n, source in enumerate(sources)]
        published = await asyncio.gather(*pushes)
    assert len({one.seq for one in published}) == 5
    assert len({one.data for one in published}) == 5
    assert [one.seq for one in await run.listed()] == sorted(one.seq for one in published)
    latest = json.loads(await run.bucket.get("run/.cachemgr/latest.json", 10_000))
    assert latest["seq"] == max(one.seq for one in published)
    newest = max(published, key=lambda one: one.seq)
    await run.pull(tmp_path / "back")
    assert same(sources[published.index(newest)], tmp_path / "back" / newest.name)
    assert await writing(run) == 0


async def test_a_push_beside_another_of_the_same_name_keeps_out_of_its_place(
    faulty: FaultyStore, faulty_run: Run, tmp_path: Path
) -> None:
    one, other = (write_checkpoint(tmp_path / n / "checkpoint-1", 1000) for n in "ab")
    gate = threading.Event()
    faulty.on("PUT", "checkpoint-1/config.json", fault=Fault("answer", status=503, gate=gate))
    first = asyncio.create_task(faulty_run.push(one))
    assert await faulty_run.rooms.pool.run(faulty.reached.wait, 60)
    second = await faulty_run.push(other)
    gate.set()
    assert ((await first).data, second.data) == ("checkpoint-1", "checkpoint-1~2")
    await faulty_run.pull(tmp_path / "back")
    assert same(other, tmp_path / "back" / "checkpoint-1")


@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_what_somebody_else_put_there_stays(run: Run, tmp_path: Path) -> None:
    await run.bucket.put("run/checkpoint-1/config.json", b"theirs")
    published = await run.push(write_checkpoint(tmp_path / "checkpoint-1", 1000))
    assert (published.seq, published.data) == (1, "checkpoint-1~1")
    assert await run.bucket.get("run/checkpoint-1/config.json", 100) == b"theirs"


@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_the_place_of_a_push_that_died_here_is_taken_over(run: Run, tmp_path: Path) -> None:
    await leave(run, 3, "checkpoint-1", "checkpoint-1", writer=ended())
    published = await run.push(write_checkpoint(tmp_path / "checkpoint-1", 1000))
    assert (published.seq, published.data) == (4, "checkpoint-1")
    assert await writing(run) == 0


@pytest.mark.parametrize("server", ["ministack"], indirect=True)
@pytest.mark.parametrize(
    ("writer", "data", "publishing"),
    [
        (ELSEWHERE, "checkpoint-1", False),  # nobody here knows whether it lives
        ("ended", "checkpoint-1", True),  # its manifest may yet arrive
        ("ended", "checkpoint-1~3", False),
        ("ended", "other", False),
    ],
)
async def test_any_other_unfinished_push_is_kept_out_of(
    run: Run, tmp_path: Path, writer: str, data: str, publishing: bool
) -> None:
    writer = ended() if writer == "ended" else writer
    await leave(run, 3, "checkpoint-1", data, writer=writer, publishing=publishing)
    await run.bucket.put("run/checkpoint-1/x", b"theirs")
    published = await run.push(write_checkpoint(tmp_path / "checkpoint-1", 1000))
    assert (published.seq, published.data) == (4, "checkpoint-1~4")
    assert await run.bucket.get(f"run/{data}/config.json", 100) == b"left behind"
    assert await writing(run) == 1


@pytest.mark.parametrize("server", ["ministack"], indirect=True)
@pytest.mark.parametrize("note", [b"", b"[]", b"{}", b'{"data": 5, "publishing": false}', b'{"data": "checkpoint-1"}'])
async def test_an_announcement_that_makes_no_sense_is_let_be(run: Run, tmp_path: Path, note: bytes) -> None:
    await run.bucket.put(f"run/{Announcement(3, ended(), 'checkpoint-1').key}", note)
    published = await run.push(write_checkpoint(tmp_path / "checkpoint-1", 1000))
    assert published.seq == 4
    assert await writing(run) == 1


@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_numbers_go_on_from_what_was_removed(run: Run, tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "checkpoint-1", 1000)
    await run.push(source)
    key = f"run/{Record(1, 'checkpoint-1').key}"
    await run.bucket.put("run/.cachemgr/removed/1-checkpoint-1.json", await run.bucket.get(key, 10_000))
    await run.bucket.delete(key)
    published = await run.push(source)
    assert (published.seq, published.data) == (2, "checkpoint-1~2")


@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_a_number_that_was_taken_after_all_is_not_published_over(
    faulty: FaultyStore, faulty_run: Run, tmp_path: Path
) -> None:
    gate = threading.Event()
    faulty.on("PUT", "checkpoint-1/config.json", fault=Fault("answer", status=503, gate=gate))
    pushing = asyncio.create_task(faulty_run.push(write_checkpoint(tmp_path / "checkpoint-1", 1000)))
    assert await faulty_run.rooms.pool.run(faulty.reached.wait, 60)
    await faulty_run.bucket.put("run/.cachemgr/checkpoints/1-checkpoint-1.json", b"{}")
    gate.set()
    with pytest.raises(Held, match="exists already"):
        await pushing
    assert await faulty_run.bucket.get("run/.cachemgr/checkpoints/1-checkpoint-1.json", 100) == b"{}"


@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_other_objects_among_our_keys_are_no_trouble(run: Run, tmp_path: Path) -> None:
    for key in ("checkpoints/readme.txt", "checkpoints/0-x.json", "checkpoints/1-a/b.json", "writing/x", "other"):
        await run.bucket.put(f"run/.cachemgr/{key}", b"?")
    await run.push(write_checkpoint(tmp_path / "checkpoint-1", 1000))
    assert [one.seq for one in await run.listed()] == [1]


@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_a_manifest_that_cannot_be_trusted_hides_no_other(run: Run, tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "checkpoint-1", 1000)
    await run.push(source)
    good = await run.bucket.get("run/.cachemgr/checkpoints/1-checkpoint-1.json", 10_000)
    await run.bucket.put("run/.cachemgr/checkpoints/2-evil.json", good.replace(b"config.json", b"../../.bashrc"))
    await run.bucket.put("run/.cachemgr/checkpoints/3-moved.json", good)
    assert [one.seq for one in await run.listed()] == [1]
    for name in ("evil", "moved"):
        with pytest.raises(VerificationFailed, match="cannot be trusted"):
            await run.pull(tmp_path / "back", name=name)
    assert not (tmp_path / "back").exists()
    await run.pull(tmp_path / "back", name="checkpoint-1")
    assert (await run.push(source)).seq == 4


async def test_a_cancelled_push_leaves_no_upload_and_the_next_one_succeeds(
    faulty: FaultyStore, faulty_run: Run, tmp_path: Path
) -> None:
    source, gate = write_checkpoint(tmp_path / "checkpoint-1"), threading.Event()
    faulty.on("PUT", "partNumber=2", fault=Fault("lose", gate=gate))
    pushing = asyncio.create_task(faulty_run.push(source))
    assert await faulty_run.rooms.pool.run(faulty.reached.wait, 60)
    pushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pushing
    gate.set()
    assert await uploads(faulty_run.bucket) == 0
    assert await faulty_run.listed() == []
    assert (await faulty_run.push(source)).data == "checkpoint-1"
    await faulty_run.pull(tmp_path / "back")
    assert same(source, tmp_path / "back" / "checkpoint-1")


async def test_a_crowd_that_announces_at_once_gets_different_numbers(run: Run) -> None:
    everybody = asyncio.Barrier(10)

    async def announce(name: str) -> tuple[int, str]:
        async with run.ledger.announced(name) as slot:
            await everybody.wait()
            return slot.announcement.seq, slot.data

    granted = await asyncio.gather(*(announce(f"checkpoint-{n % 3}") for n in range(10)))
    assert len({seq for seq, _ in granted}) == len({data for _, data in granted}) == 10
    assert await writing(run) == 0
