"""kill -9 at any instant: what was published restores bit for bit, what was not is invisible."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cachemgr.domain.checkpoint import CheckpointManifest
from cachemgr.moving.target import Target
from tests.checkpoints.runs import Run, same, write_checkpoint
from tests.services.s3 import S3Server
from tests.services.s3_faults import Fault, FaultyStore
from tests.services.stores import uploads

pytestmark = pytest.mark.integration

MOMENTS = {
    "at its first question": ("GET", "checkpoints"),
    "at its announcement": ("PUT", "writing/"),
    "in a small file": ("PUT", "config.json"),
    "in a part": ("PUT", "partNumber=2"),
    "before it completes the parts": ("POST", "uploadId"),
    "before its manifest": ("PUT", "checkpoints/2-"),
    "before latest.json": ("PUT", "latest.json"),
    "before it withdraws": ("DELETE", "writing/"),
}


def start(action: str, path: Path, run: Run, server: S3Server) -> subprocess.Popen[str]:
    """A process that pushes (or pulls); it has begun when this returns."""
    command = [sys.executable, "-m", "tests.checkpoints.child", action, str(path), run.place]
    command += [server.endpoint_url, server.access_key_id, server.secret_access_key, server.region]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    return child


def kill(child: subprocess.Popen[str]) -> str:
    """Kill it; what it had still to say."""
    child.kill()
    return child.communicate()[0]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(
    ("server", "lost"), [("ministack", True), ("ministack", False), ("rclone", False)], indirect=["server"]
)
async def test_a_file_pushed_twice_whose_second_push_is_killed(
    faulty: FaultyStore, faulty_run: Run, tmp_path: Path, moment: str, lost: bool
) -> None:
    source, first = tmp_path / "last.ckpt", os.urandom((17 << 20) + 3)
    directory = write_checkpoint(tmp_path / "checkpoint-1") if moment == "in a small file" else None
    pushed = directory or source
    source.write_bytes(first)
    await faulty_run.push(pushed)
    second = os.urandom(len(first))
    source.write_bytes(second)
    if directory is not None:
        (directory / "config.json").write_bytes(b"the second one")
    gate = threading.Event()
    faulty.on(*MOMENTS[moment], fault=Fault("lose" if lost else "drop", gate=gate))
    faulty.reached.clear()
    child = start("push", pushed, faulty_run, faulty.server)
    assert await faulty_run.rooms.pool.run(faulty.reached.wait, 60)
    kill(child)
    gate.set()
    await faulty_run.rooms.pool.run(time.sleep, 0.2)  # a request that was on its way arrives
    listed = await faulty_run.listed()
    restored = await faulty_run.pull(tmp_path / "back")
    assert restored.seq == listed[-1].seq == len(listed)
    if directory is not None:
        assert (tmp_path / "back" / "checkpoint-1" / "config.json").read_bytes() != b"the second one"
    else:
        assert (tmp_path / "back" / "last.ckpt").read_bytes() == (first if restored.seq == 1 else second)
    again = await faulty_run.push(pushed)
    assert await faulty_run.listed() != []
    await faulty_run.pull(tmp_path / "again")
    assert (tmp_path / "again" / pushed.name).exists()
    assert again.seq >= restored.seq


@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_pushes_that_are_killed_at_random_damage_nothing(run: Run, tmp_path: Path) -> None:
    chance, contents = random.Random(7), set[str]()
    source = tmp_path / "last.ckpt"
    for _ in range(8):
        content = os.urandom((16 << 20) + chance.randrange(1 << 20))
        contents.add(hashlib.sha256(content).hexdigest())
        source.write_bytes(content)
        child = start("push", source, run, run.rooms.server)
        await run.rooms.pool.run(time.sleep, chance.uniform(0.3, 1.5))
        kill(child)
    source.write_bytes(b"the last one")
    await run.push(source)
    await run.pull(tmp_path / "back")
    assert (tmp_path / "back" / "last.ckpt").read_bytes() == b"the last one"
    for record in (await run.ledger.published()).published[:-1]:
        manifest = await run.ledger.read(record)
        assert manifest.files[0].sha256 in contents
        assert await stored_sha256(run, manifest, tmp_path / f"{record.seq}") == manifest.files[0].sha256


async def stored_sha256(run: Run, manifest: CheckpointManifest, path: Path) -> str:
    """The sha256 of the bytes that the store has of a checkpoint's only file."""
    await run.rooms.pool.run(path.touch)
    remote = await run.bucket.remote(f"run/{manifest.key_of(manifest.files[0])}", manifest.bytes)
    target = Target(path, local=True)
    return (await run.rooms.plane.fetch(remote, [target], git_sha1=False, progress=lambda _: None)).sha256


async def test_a_killed_push_of_a_new_name_is_finished_by_the_next_in_its_place(
    faulty: FaultyStore, faulty_run: Run, tmp_path: Path
) -> None:
    source, gate = write_checkpoint(tmp_path / "checkpoint-1"), threading.Event()
    faulty.on("PUT", "partNumber=2", fault=Fault("lose", gate=gate))
    child = start("push", source, faulty_run, faulty.server)
    assert await faulty_run.rooms.pool.run(faulty.reached.wait, 60)
    kill(child)
    gate.set()
    assert await faulty_run.listed() == []
    published = await faulty_run.push(source)
    assert (published.seq, published.data) == (2, "checkpoint-1")
    assert await uploads(faulty_run.bucket) == 0
    await faulty_run.pull(tmp_path / "back")
    assert same(source, tmp_path / "back" / "checkpoint-1")


async def test_a_killed_restore_leaves_nothing_that_looks_like_one(
    faulty: FaultyStore, faulty_run: Run, tmp_path: Path
) -> None:
    source, gate = write_checkpoint(tmp_path / "checkpoint-1"), threading.Event()
    await faulty_run.push(source)
    faulty.on("GET", "checkpoint-1/config.json", fault=Fault("lose", gate=gate))
    faulty.reached.clear()
    child = start("pull", tmp_path / "back", faulty_run, faulty.server)
    assert await faulty_run.rooms.pool.run(faulty.reached.wait, 60)
    kill(child)
    gate.set()
    assert [name for name in os.listdir(tmp_path / "back") if not name.startswith(".cachemgr-")] == []
    await faulty_run.pull(tmp_path / "back")
    assert same(source, tmp_path / "back" / "checkpoint-1")
    assert os.listdir(tmp_path / "back") == ["checkpoint-1"]
