"""A cancelled movement has ended, threads included, when its caller hears of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from cachemgr.moving.patience import Patience
from cachemgr.moving.plane import DataPlane
from cachemgr.moving.remote import Remote, Request
from tests.moving.desk import MIB, holds, noise, remote, seen, target
from tests.moving.origin import Exchange, FaultyOrigin

PROMPT_SECONDS = 2.0


class Gate:
    """A fault that sends part of the body, says so, and waits."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, exchange: Exchange) -> None:
        start, end = exchange.good_head()
        exchange.sock.sendall(exchange.content[start : start + self.count])
        self.reached.set()
        self.open.wait(30)
        exchange.sock.sendall(exchange.content[start + self.count : end])


@pytest.fixture
def patient() -> Iterator[DataPlane]:
    """A data plane that would wait for very long if it were not cancelled."""
    it = DataPlane(
        4, one_request_bytes=4 * MIB, patience=Patience(stall_seconds=60, backoff_seconds=60, longest_wait_seconds=60)
    )
    yield it
    it.close()


@pytest.fixture
def gate() -> Iterator[Gate]:
    it = Gate(MIB)
    yield it
    it.open.set()


async def cancelled(movement: Awaitable[object], reached: Callable[[], bool]) -> None:
    task = asyncio.ensure_future(movement)
    while not reached():
        await asyncio.sleep(0.01)
        assert not task.done()
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < PROMPT_SECONDS


@pytest.mark.parametrize("size", [3 * MIB, 30 * MIB])
async def test_waiting_for_bytes(
    patient: DataPlane, origin: FaultyOrigin, tmp_path: Path, gate: Gate, size: int
) -> None:
    origin.files["/f"] = data = noise(size)
    origin.fail("/f", *([gate] * 4))
    into = target(tmp_path / "f", size)
    await cancelled(
        patient.fetch(remote(origin, "/f", size), [into], git_sha1=False, progress=lambda _: None), gate.reached.is_set
    )
    before = into.path.read_bytes()
    gate.open.set()
    await asyncio.sleep(0.2)
    assert holds(into.path, before)
    # The plane is none the worse for it.
    found = await patient.fetch(
        remote(origin, "/f", size), [target(tmp_path / "g", size)], git_sha1=True, progress=lambda _: None
    )
    assert found == seen(data)


@pytest.mark.parametrize("size", [3 * MIB, 30 * MIB])
async def test_waiting_before_asking_again(patient: DataPlane, origin: FaultyOrigin, tmp_path: Path, size: int) -> None:
    origin.files["/f"] = noise(size)
    origin.fail("/f", *([lambda exchange: exchange.answer(503)] * 9))
    movement = patient.fetch(
        remote(origin, "/f", size), [target(tmp_path / "f", size)], git_sha1=False, progress=lambda _: None
    )
    await cancelled(movement, lambda: len(origin.asked) > 0)


async def test_waiting_for_a_turn(patient: DataPlane, origin: FaultyOrigin, tmp_path: Path, gate: Gate) -> None:
    origin.files["/f"] = noise(3 * MIB)
    origin.fail("/f", *([gate] * 4))

    async def one(name: str) -> object:
        into = target(tmp_path / name, 3 * MIB)
        return await patient.fetch(remote(origin, "/f", 3 * MIB), [into], git_sha1=False, progress=lambda _: None)

    busy = [asyncio.create_task(one(str(n))) for n in range(4)]
    while len(origin.asked) < 4:  # noqa: ASYNC110 (the origin is no part of the loop)
        await asyncio.sleep(0.01)
    began = time.monotonic()
    await cancelled(one("late"), lambda: time.monotonic() - began > 0.1)
    gate.open.set()
    await asyncio.gather(*busy)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_waiting_for_somebody_who_only_listens(patient: DataPlane, tmp_path: Path, scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        asked = Remote(100, lambda: Request(f"{scheme}://127.0.0.1:{port}/f", {}), True)
        movement = patient.fetch(asked, [target(tmp_path / "f", 100)], git_sha1=False, progress=lambda _: None)
        began = time.monotonic()
        await cancelled(movement, lambda: time.monotonic() - began > 0.2)


async def test_a_copy_ends_at_the_next_buffer(patient: DataPlane, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(noise(64 * MIB))
    moved: list[int] = []
    entered, release = threading.Event(), threading.Event()

    def progress(count: int) -> None:
        moved.append(count)
        entered.set()
        release.wait(10)

    into = target(tmp_path / "f", 64 * MIB)
    task = asyncio.create_task(
        patient.copy(tmp_path / "source", [into], size=64 * MIB, git_sha1=False, progress=progress)
    )
    await asyncio.to_thread(entered.wait, 10)
    task.cancel()
    await asyncio.sleep(0.05)
    task.cancel()  # again, while it waits for its thread
    await asyncio.sleep(0.05)
    assert not task.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sum(moved) <= 2 * MIB


async def test_closing_ends_what_moves(origin: FaultyOrigin, tmp_path: Path, gate: Gate) -> None:
    plane = DataPlane(4, patience=Patience(stall_seconds=60))
    origin.files["/f"] = noise(3 * MIB)
    origin.fail("/f", gate)
    into = target(tmp_path / "f", 3 * MIB)
    task = asyncio.create_task(
        plane.fetch(remote(origin, "/f", 3 * MIB), [into], git_sha1=False, progress=lambda _: None)
    )
    await asyncio.to_thread(gate.reached.wait, 10)
    plane.close()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_whenever_it_comes_a_cancellation_leaves_nothing_open(origin: FaultyOrigin, tmp_path: Path) -> None:
    dice, plane = random.Random(7), DataPlane(one_request_bytes=2 * MIB)
    origin.files["/f"] = data = noise(9 * MIB + 5)

    async def one(name: str) -> None:
        into = target(tmp_path / name, len(data), local=dice.random() < 0.5)
        task = asyncio.create_task(
            plane.fetch(remote(origin, "/f", len(data)), [into], git_sha1=True, progress=lambda _: None)
        )
        await asyncio.sleep(dice.random() * 0.06)
        task.cancel()
        (found,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(found, asyncio.CancelledError) or found == seen(data)

    for number in range(10):
        await asyncio.gather(*(one(f"{number}-{n}") for n in range(6)))
    plane.close()
    gc.collect()  # a socket that was forgotten warns now, and a warning fails the test
    assert [path for path in open_files() if path.startswith(str(tmp_path))] == []


def open_files() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return found
