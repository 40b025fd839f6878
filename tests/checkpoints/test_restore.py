"""A restore is complete, verified and new, or nothing appears at its destination."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cachemgr.domain.errors import OriginUnavailable, TierUnavailable, Unauthorized, Usage, VerificationFailed
from tests.checkpoints.runs import Run, same, write_checkpoint
from tests.services.s3_faults import Fault, FaultyStore

pytestmark = pytest.mark.integration

CONFIG = "run/checkpoint-1/config.json"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "train" / "checkpoint-1")


def untouched(directory: Path) -> bool:
    """True if there is nothing, not even a trace."""
    return not directory.exists() or os.listdir(directory) == []


@pytest.mark.parametrize(
    "data", [b"?" * 2000, b"?" * 1999, b"?" * 2001, b"", None], ids=["same size", "-1", "+1", "empty", "gone"]
)
async def test_an_object_that_was_damaged_is_not_restored(
    run: Run, source: Path, tmp_path: Path, data: bytes | None
) -> None:
    await run.push(source)
    if data is None:
        await run.bucket.delete(CONFIG)
    else:
        await run.bucket.put(CONFIG, data)
    with pytest.raises(VerificationFailed) as caught:
        await run.pull(tmp_path / "back")
    assert caught.value.fields["file"] == "config.json"
    assert "config.json" in caught.value.detail
    assert untouched(tmp_path / "back")
    assert run.sample("cachemgr_verification_failures_total", stage="restore") == 1


@pytest.mark.parametrize("server", ["rclone"], indirect=True)
async def test_a_flipped_bit_in_a_large_file_is_seen(run: Run, source: Path, tmp_path: Path) -> None:
    await run.push(source)
    directory = run.rooms.server.directory
    assert directory is not None
    path = directory / run.bucket.where().removeprefix("s3://") / "run/checkpoint-1/model.safetensors"
    with path.open("r+b") as file:
        file.seek(9 << 20)
        byte = file.read(1)
        file.seek(9 << 20)
        file.write(bytes([byte[0] ^ 4]))
    with pytest.raises(VerificationFailed, match="sha256 is"):
        await run.pull(tmp_path / "back")
    assert untouched(tmp_path / "back")


THERE: dict[str, Callable[[Path], object]] = {
    "a changed file": lambda path: (path / "config.json").write_bytes(b"?" * 2000),
    "a shorter file": lambda path: os.truncate(path / "config.json", 3),
    "a missing file": lambda path: (path / "config.json").unlink(),
    "another file": lambda path: (path / "optimizer.pt").touch(),
    "another link": lambda path: os.symlink("config.json", path / "link"),
    "a pipe": lambda path: os.mkfifo(path / "pipe"),
}


@pytest.mark.parametrize("change", THERE)
@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_what_is_there_and_differs_is_not_touched(run: Run, source: Path, tmp_path: Path, change: str) -> None:
    await run.push(source)
    await run.pull(tmp_path / "back")
    THERE[change](tmp_path / "back" / "checkpoint-1")
    before = sorted((path, path.lstat().st_mtime_ns) for path in (tmp_path / "back").rglob("*"))
    with pytest.raises(Usage, match="exists and is not that checkpoint") as caught:
        await run.pull(tmp_path / "back")
    assert "move it away" in caught.value.hint
    assert sorted((path, path.lstat().st_mtime_ns) for path in (tmp_path / "back").rglob("*")) == before


@pytest.mark.parametrize("kind", ["file", "dangling link", "empty directory", "directory for a file"])
@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_another_kind_of_thing_is_not_replaced(run: Run, source: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "back").mkdir()
    destination = tmp_path / "back" / "checkpoint-1"
    if kind == "file":
        destination.write_bytes(b"mine")
    elif kind == "dangling link":
        os.symlink("/nowhere", destination)
    else:
        destination.mkdir()
    if kind == "directory for a file":
        (tmp_path / "weights").write_bytes(b"weights")
        await run.push(tmp_path / "weights", name="checkpoint-1")
    else:
        await run.push(source)
    about = destination.lstat()
    with pytest.raises(Usage, match="exists"):
        await run.pull(tmp_path / "back")
    assert destination.lstat().st_ino == about.st_ino
    assert os.listdir(tmp_path / "back") == ["checkpoint-1"]


@pytest.mark.parametrize("made", ["a file", "a directory"])
@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_what_appears_there_meanwhile_is_not_replaced(
    faulty: FaultyStore, faulty_run: Run, source: Path, tmp_path: Path, made: str
) -> None:
    await faulty_run.push(source)
    gate, destination = threading.Event(), tmp_path / "back" / "checkpoint-1"
    faulty.on("GET", CONFIG, fault=Fault("answer", status=503, gate=gate))
    faulty.reached.clear()
    pulling = asyncio.create_task(faulty_run.pull(tmp_path / "back"))
    assert await faulty_run.rooms.pool.run(faulty.reached.wait, 60)
    if made == "a file":
        destination.write_bytes(b"mine")
    else:
        destination.mkdir()
        (destination / "mine").touch()
    gate.set()
    with pytest.raises(Usage, match="exists"):
        await pulling
    assert os.listdir(tmp_path / "back") == ["checkpoint-1"]
    assert destination.read_bytes() == b"mine" if made == "a file" else os.listdir(destination) == ["mine"]


@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_a_cancelled_restore_leaves_nothing(
    faulty: FaultyStore, faulty_run: Run, source: Path, tmp_path: Path
) -> None:
    await faulty_run.push(source)
    gate = threading.Event()
    faulty.on("GET", CONFIG, fault=Fault("lose", gate=gate))
    faulty.reached.clear()
    pulling = asyncio.create_task(faulty_run.pull(tmp_path / "back"))
    assert await faulty_run.rooms.pool.run(faulty.reached.wait, 60)
    pulling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pulling
    gate.set()
    assert untouched(tmp_path / "back")


@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_two_restores_at_once_end_with_one_checkpoint(run: Run, source: Path, tmp_path: Path) -> None:
    await run.push(source)
    results = await asyncio.gather(run.pull(tmp_path / "back"), run.pull(tmp_path / "back"), return_exceptions=True)
    assert any(not isinstance(one, BaseException) for one in results)
    assert all(isinstance(one, Usage) for one in results if isinstance(one, BaseException))
    assert same(source, tmp_path / "back" / "checkpoint-1")
    assert os.listdir(tmp_path / "back") == ["checkpoint-1"]


@pytest.mark.parametrize(
    ("fault", "error", "hint"),
    [
        (Fault("answer", status=403), Unauthorized, "s3.access_key_id"),
        (Fault("answer", status=503), OriginUnavailable, ""),
        (Fault("answer", status=302, headers={"Location": "http://127.0.0.1:9/"}), OriginUnavailable, ""),
        (Fault("cut"), OriginUnavailable, ""),
    ],
    ids=["403", "503", "302", "cut"],
)
@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_a_store_that_fails_midway_is_said(  # what pytest hands in
    faulty: FaultyStore, faulty_run: Run, source: Path, tmp_path: Path, fault: Fault, error: type[Exception], hint: str
) -> None:
    await faulty_run.push(source)
    faulty.on("GET", CONFIG, fault=fault, times=99)
    with pytest.raises(error) as caught:
        await faulty_run.pull(tmp_path / "back")
    assert hint in getattr(caught.value, "hint", "")
    assert untouched(tmp_path / "back")


@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_a_destination_that_cannot_be_written_is_said(run: Run, source: Path, tmp_path: Path) -> None:
    await run.push(source)
    (tmp_path / "file").touch()
    with pytest.raises(TierUnavailable, match="cannot be written"):
        await run.pull(tmp_path / "file" / "below")
    with pytest.raises(TierUnavailable, match="cannot be written"):
        await run.pull(Path("/proc/self"))


@pytest.mark.parametrize("path", ["../escaped", "/tmp/escaped", "a/../../escaped"])
@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_a_hostile_manifest_writes_nothing(run: Run, source: Path, tmp_path: Path, path: str) -> None:
    await run.push(source)
    key = "run/.cachemgr/checkpoints/1-checkpoint-1.json"
    document = json.loads(await run.bucket.get(key, 10_000))
    document["files"][0]["path"] = path
    await run.bucket.put(key, json.dumps(document).encode())
    with pytest.raises(VerificationFailed, match="cannot be trusted"):
        await run.pull(tmp_path / "back")
    assert untouched(tmp_path / "back")
    assert not (tmp_path / "escaped").exists()
