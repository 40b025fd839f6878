"""What changes while it is read is never published, and what cannot be restored is refused before the first byte."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cachemgr.domain.errors import CachemgrError, Held, NotFound, Usage, VerificationFailed
from tests.checkpoints.runs import Run, same, write_checkpoint
from tests.services.s3_faults import Fault, FaultyStore

pytestmark = pytest.mark.integration

Change = Callable[[Path], object]


def rewrite_in_place(source: Path) -> None:
    with (source / "config.json").open("r+b") as file:
        file.write(b"?")


def append(source: Path) -> None:
    with (source / "config.json").open("ab") as file:
        file.write(b"?")


def keep_the_time(source: Path) -> None:
    """Another file of the same size and time in its place, as `cp -p` and `rsync` leave it."""
    path = source / "config.json"
    about, other = path.stat(), source.parent / "other"
    other.write_bytes(os.urandom(about.st_size))
    os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))
    other.rename(path)


def retarget(source: Path) -> None:
    (source / "link").unlink()
    os.symlink("rng", source / "link")


CHANGES: dict[str, Change] = {
    "rewritten in place": rewrite_in_place,
    "appended": append,
    "cut": lambda source: os.truncate(source / "config.json", 3),
    "replaced with its time kept": keep_the_time,
    "deleted": lambda source: (source / "config.json").unlink(),
    "a new file": lambda source: (source / "rng" / "new").touch(),
    "renamed": lambda source: (source / "config.json").rename(source / "config2.json"),
    "a link elsewhere": retarget,
    "all of it deleted": shutil.rmtree,
    "all of it renamed": lambda source: source.rename(source.with_name("gone")),
}


MOMENTS = [("config.json", change) for change in CHANGES]
MOMENTS += [
    (moment, change)
    for moment in ("model.safetensors?partNumber=2", "rng/state")
    for change in ("rewritten in place", "deleted", "a new file")
]


@pytest.mark.parametrize(("moment", "change"), MOMENTS)
@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_a_change_during_the_upload_publishes_nothing(
    faulty: FaultyStore, faulty_run: Run, tmp_path: Path, change: str, moment: str
) -> None:
    source, gate = write_checkpoint(tmp_path / "checkpoint-1"), threading.Event()
    os.symlink("config.json", source / "link")
    path, _, query = moment.partition("?")
    faulty.on("PUT", path, query, fault=Fault("answer", status=503, gate=gate))
    pushing = asyncio.create_task(faulty_run.push(source))
    assert await faulty_run.rooms.pool.run(faulty.reached.wait, 60)
    CHANGES[change](source)
    gate.set()
    with pytest.raises(Held, match="changed while it was being read"):
        await pushing
    assert await faulty_run.listed() == []
    assert faulty_run.sample("cachemgr_checkpoint_failures_total") == 1


@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_after_a_change_the_next_push_succeeds(faulty: FaultyStore, faulty_run: Run, tmp_path: Path) -> None:
    source, gate = write_checkpoint(tmp_path / "checkpoint-1"), threading.Event()
    faulty.on("PUT", "config.json", fault=Fault("answer", status=503, gate=gate))
    pushing = asyncio.create_task(faulty_run.push(source))
    await faulty_run.rooms.pool.run(faulty.reached.wait, 60)
    rewrite_in_place(source)
    gate.set()
    with pytest.raises(Held):
        await pushing
    published = await faulty_run.push(source)
    assert (published.seq, published.data) == (2, "checkpoint-1")
    await faulty_run.pull(tmp_path / "back")
    assert same(source, tmp_path / "back" / "checkpoint-1")
    assert [found.key for found in await faulty_run.bucket.listed("run/.cachemgr/writing/")] == []


async def test_bytes_that_change_on_the_way_are_not_published(
    faulty: FaultyStore, faulty_run: Run, tmp_path: Path
) -> None:
    source = write_checkpoint(tmp_path / "checkpoint-1")
    faulty.on("PUT", "checkpoint-1/config.json", fault=Fault("flip"), times=99)
    with pytest.raises(VerificationFailed):
        await faulty_run.push(source)
    assert await faulty_run.listed() == []


def pipe(source: Path) -> None:
    os.mkfifo(source / "pipe")


def unix_socket(source: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(source / "sock"))


def two_links(source: Path) -> None:
    os.symlink("config.json", source / "a")
    os.symlink("a", source / "b")


def only_directories(source: Path) -> None:
    shutil.rmtree(source)
    (source / "a" / "b").mkdir(parents=True)


UNFIT: dict[str, Change] = {
    "a pipe": pipe,
    "a socket": unix_socket,
    "an absolute link": lambda source: os.symlink("/etc/passwd", source / "link"),
    "a link to its own file by its full path": lambda source: os.symlink(source / "config.json", source / "link"),
    "a link upwards": lambda source: os.symlink("../x", source / "link"),
    "a dangling link": lambda source: os.symlink("missing", source / "link"),
    "a link to a link": two_links,
    "a link to itself": lambda source: os.symlink("link", source / "link"),
    "a name with a newline": lambda source: (source / "a\nb").touch(),
    "a name that is no text": lambda source: open(bytes(source) + b"/\xff", "wb").close(),
    "only directories in it": only_directories,
}


@pytest.mark.parametrize("unfit", UNFIT)
@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_what_cannot_be_restored_is_refused_before_the_first_byte(run: Run, tmp_path: Path, unfit: str) -> None:
    source = write_checkpoint(tmp_path / "checkpoint-1", 10)
    UNFIT[unfit](source)
    with pytest.raises(Usage) as caught:
        await run.push(source)
    assert str(source) in caught.value.detail
    assert caught.value.hint
    assert await run.bucket.listed("") == []


@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_what_is_not_there_is_not_found(run: Run, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await run.push(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(NotFound):
        await run.push(tmp_path / "file" / "below")
    with pytest.raises(Usage, match="neither"):
        await run.push(Path("/dev/null"))


@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_a_key_that_is_too_long_is_refused_before_the_first_byte(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "checkpoint-1"
    deep = source.joinpath(*["x" * 200] * 4)
    deep.mkdir(parents=True)
    (deep / "file").touch()
    place = run.bucket.where("p" * 200)
    with pytest.raises(Usage, match="longer than"):
        await run.rooms.checkpoints.push(str(source), place, None)(_Nobody())
    assert await run.bucket.listed("") == []


class _Nobody:
    def expect(self, total_bytes: int, files: int) -> None: ...

    def moved(self, delta_bytes: int) -> None: ...

    def file_done(self) -> None: ...


@pytest.mark.parametrize("words", [("PUT", "config.json"), ("PUT", "checkpoints/1-"), ("PUT", "writing/")])
async def test_a_store_that_stays_away_publishes_nothing(
    faulty: FaultyStore, faulty_run: Run, tmp_path: Path, words: tuple[str, ...]
) -> None:
    source = write_checkpoint(tmp_path / "checkpoint-1")
    faulty.on(*words, fault=Fault("lose"), times=9)
    with pytest.raises(CachemgrError) as caught:
        await faulty_run.push(source)
    assert caught.value.code == "origin_unavailable"
    assert await faulty_run.listed() == []
    again = await _until_it_works(faulty_run, source)
    assert again == [1]


async def _until_it_works(run: Run, source: Path) -> list[int]:
    for _ in range(9):
        try:
            await run.push(source)
        except CachemgrError:
            continue
        return [len(await run.listed())]
    return []


@pytest.mark.parametrize("what", ["checkpoints/1-", "latest.json"])
async def test_a_lost_answer_at_the_end_does_not_publish_twice(
    faulty: FaultyStore, faulty_run: Run, tmp_path: Path, what: str
) -> None:
    source = write_checkpoint(tmp_path / "checkpoint-1", 10)
    faulty.on("PUT", what, fault=Fault("drop"))
    assert (await faulty_run.push(source)).seq == 1
    assert [one.seq for one in await faulty_run.listed()] == [1]


async def test_a_missing_latest_is_no_failure(faulty: FaultyStore, faulty_run: Run, tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "checkpoint-1", 10)
    faulty.on("PUT", "latest.json", fault=Fault("lose"), times=99)
    await faulty_run.push(source)
    await faulty_run.pull(tmp_path / "back")
    assert same(source, tmp_path / "back" / "checkpoint-1")


async def test_a_store_that_cannot_copy_is_sent_everything(
    faulty: FaultyStore, faulty_run: Run, tmp_path: Path
) -> None:
    source = write_checkpoint(tmp_path / "checkpoint-1")
    await faulty_run.push(source)
    os.rename(source, source.with_name("checkpoint-2"))
    unknown = Fault("answer", status=501, body=b"<Error><Code>NotImplemented</Code></Error>")
    for name in ("config.json", "model.safetensors", "state"):
        faulty.on("PUT /", "checkpoint-2/", name, fault=unknown)
    second = await faulty_run.push(source.with_name("checkpoint-2"))
    assert second.sent_bytes == second.bytes
    await faulty_run.pull(tmp_path / "back")
    assert same(source.with_name("checkpoint-2"), tmp_path / "back" / "checkpoint-2")
