"""Memory is bounded, and a disk that takes no more is reported as the system reports it."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cachemgr.moving.slots import Slots
from cachemgr.moving.stop import Stop, Stopped
from tests.moving.desk import MIB, noise, target
from tests.moving.origin import FaultyOrigin

FETCH = """
import asyncio, sys
from pathlib import Path
from cachemgr.moving.plane import DataPlane
from cachemgr.moving.remote import Remote, Request
from cachemgr.moving.target import Target

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) >> 10

async def main(url, size, local, *paths):
    plane = DataPlane()
    remote, before = Remote(int(size), lambda: Request(url, {}), True), peak()
    fetches = [
        plane.fetch(remote, [Target(Path(path), local == "local")], git_sha1=False, progress=lambda n: None)
        for path in paths
    ]
    try:
        await asyncio.gather(*fetches)
    except OSError as exc:
        print("errno", exc.errno)
    print("grown by MiB", peak() - before)
    plane.close()

asyncio.run(main(*sys.argv[1:]))
"""


def fetch_in_a_child(
    origin: FaultyOrigin, size: int, *paths: Path, local: bool = True, limit: int | None = None
) -> str:
    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-c", FETCH, f"{origin.url}/f", str(size), "local" if local else "elsewhere"]
    done = subprocess.run(
        [*command, *map(str, paths)], stdout=subprocess.PIPE, text=True, check=True, preexec_fn=limited, timeout=60
    )
    return done.stdout


def grown(output: str) -> int:
    return int(output.rpartition("MiB")[2])


@pytest.mark.parametrize("local", [True, False], ids=["local", "elsewhere"])
def test_many_large_files_at_once_stay_within_the_window(origin: FaultyOrigin, tmp_path: Path, local: bool) -> None:
    origin.files["/f"] = noise(100 * MIB)
    paths = [target(tmp_path / str(n), 100 * MIB).path for n in range(4)]
    assert grown(fetch_in_a_child(origin, 100 * MIB, *paths, local=local)) < 90


def test_small_files_take_little(origin: FaultyOrigin, tmp_path: Path) -> None:
    origin.files["/f"] = noise(20 * MIB)
    paths = [target(tmp_path / str(n), 20 * MIB).path for n in range(4)]
    assert grown(fetch_in_a_child(origin, 20 * MIB, *paths)) < 40


@pytest.mark.parametrize("local", [True, False], ids=["local", "elsewhere"])
@pytest.mark.parametrize("size", [6 * MIB, 70 * MIB])
def test_a_target_that_takes_no_more_is_reported(origin: FaultyOrigin, tmp_path: Path, size: int, local: bool) -> None:
    # A limit on the size of files needs no privilege and fails as a full disk does: at allocation, or at a write.
    origin.files["/f"] = noise(size)
    into = target(tmp_path / "f", size)
    output = fetch_in_a_child(origin, size, into.path, local=local, limit=5 * MIB)
    assert f"errno {errno.EFBIG}" in output
    assert os.stat(into.path).st_size == size


def test_slots_are_bounded_and_come_back() -> None:
    slots, stop = Slots(4096, 2), Stop()
    one, two = slots.take("a", stop), slots.take("a", stop)
    got: list[memoryview] = []
    waiting = threading.Thread(target=lambda: got.append(slots.take("a", stop)))
    waiting.start()
    waiting.join(0.05)
    assert got == []
    slots.give("a", one)
    waiting.join(5)
    assert len(got) == 1
    assert slots.most_out == 2
    slots.give("a", two)
    slots.give("a", got[0])


def test_whoever_has_none_gets_one() -> None:
    slots, stop = Slots(4096, 1), Stop()
    slots.take("a", stop)
    assert len(slots.take("b", stop)) == 4096


def test_a_stopped_movement_waits_for_no_slot() -> None:
    slots, stop = Slots(4096, 1), Stop()
    slots.take("a", stop)
    threading.Timer(0.05, stop.set).start()
    with pytest.raises(Stopped):
        slots.take("a", stop)
