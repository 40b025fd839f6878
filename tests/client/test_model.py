"""`model`: what is yielded stays until the block ends, and every failure is typed and in time."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket as sockets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cachemgr import client
from cachemgr.domain import errors
from cachemgr.domain.ref import Ref
from cachemgr.library.answers import Answer
from tests.client.places import COMMIT, Place, manifest
from tests.client.stand_in import World, eventually, serving

REF = Ref.parse("hf://acme/m20@main")
ID = manifest(REF).id


def answer(place: Place) -> Answer:
    return Answer(str(REF), ID, COMMIT, str(place.directory(REF)), place.name, None, None, None, False)


def removable(place: Place) -> bool:
    """True if an evictor would get its exclusive lock now."""
    with open(place.own("holds", ID), "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@contextmanager
def evicting(place: Place) -> Iterator[None]:
    with open(place.own("holds", ID), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("cachemgr")}


@pytest.mark.usefixtures("known")
def test_a_model_on_disk_is_held_without_a_daemon(disk: Place) -> None:
    directory = disk.seal(REF)
    with client.model(str(REF)) as path:
        assert path == str(directory)
        assert not removable(disk)
    assert removable(disk)


@pytest.mark.usefixtures("known")
def test_a_failing_reader_gives_its_hold_back(disk: Place) -> None:
    disk.seal(REF)
    with pytest.raises(ZeroDivisionError), client.model(str(REF)):
        raise ZeroDivisionError
    assert removable(disk)


@pytest.mark.usefixtures("known")
def test_readers_share(disk: Place) -> None:
    disk.seal(REF)
    with client.model(str(REF)), client.model(str(REF)):
        pass
    assert removable(disk)


@pytest.mark.usefixtures("known")
def test_a_forked_child_does_not_prolong_the_hold(disk: Place) -> None:
    disk.seal(REF)
    let_go, told = os.pipe()
    with client.model(str(REF)):
        child = os.fork()
        if child == 0:
            os.close(told)
            os.read(let_go, 1)
            os._exit(0)
    assert removable(disk)
    os.close(told)
    os.waitpid(child, 0)
    os.close(let_go)


def test_what_is_being_evicted_is_asked_of_the_daemon(world: World, disk: Place, volume: Place) -> None:
    disk.seal(REF)
    volume.seal(REF)
    world.answers[str(REF)] = answer(volume)
    with evicting(disk), client.model(str(REF)) as path:
        assert path.tier == "volume"
        assert len(world.holds) == 1
    assert world.holds == set()


def test_a_lock_on_a_file_that_was_replaced_protects_nothing(world: World, disk: Place, volume: Place) -> None:
    disk.seal(REF)
    world.answers[str(REF)] = answer(volume)
    lock = disk.own("holds", ID)
    lock.touch()
    with pytest.MonkeyPatch.context() as patch:
        real = fcntl.flock

        def replaced_meanwhile(descriptor: int, how: int) -> None:
            real(descriptor, how)
            lock.unlink(missing_ok=True)
            lock.touch()

        patch.setattr(fcntl, "flock", replaced_meanwhile)
        with client.model(str(REF)) as path:
            assert path.tier == "volume"


def test_a_model_that_is_not_on_the_fastest_tier_is_asked_for(world: World, volume: Place) -> None:
    volume.seal(REF)
    world.answers[str(REF)] = answer(volume)
    with client.model(str(REF), deadline=20) as path:
        assert (path.tier, path.revision) == ("volume", COMMIT)
    assert world.calls("acquire") == [(str(REF), 18.0, float(client.HOLD_SECONDS), "any")]


def test_a_hold_on_the_disk_outlives_the_daemon(world: World, disk: Place) -> None:
    def arrives() -> None:
        while not world.calls("acquire"):
            time.sleep(0.001)
        disk.seal(REF)
        world.answers[str(REF)] = answer(disk)
        world.open.set()

    world.open.clear()
    bringing = threading.Thread(target=arrives)
    bringing.start()
    with client.model(str(REF), tier="disk", deadline=None):
        assert not removable(disk)
        assert world.holds == set()  # the daemon's own was given back
        assert not threads()
    bringing.join()
    assert removable(disk)
    assert world.calls("acquire") == [(str(REF), None, 120.0, "disk")]


@pytest.mark.usefixtures("socket")
def test_without_a_daemon_it_says_so_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(client.DaemonAway) as caught, client.model(str(REF)):
        raise AssertionError
    assert time.monotonic() - began < 0.5
    assert caught.value.code == "daemon_away"
    assert "cachemgr serve" in caught.value.hint


def test_a_dead_socket_says_so_at_once(socket: Path) -> None:
    with sockets.socket(sockets.AF_UNIX) as dead:
        dead.bind(str(socket))
    with pytest.raises(client.DaemonAway), client.model(str(REF)):
        raise AssertionError


@pytest.mark.parametrize("accepts", [True, False], ids=["frozen", "never accepts"])
def test_a_daemon_slower_than_the_deadline_says_so_in_time(socket: Path, accepts: bool) -> None:
    with sockets.socket(sockets.AF_UNIX) as listening:
        listening.bind(str(socket))
        listening.listen(1 if accepts else 0)
        others = [sockets.socket(sockets.AF_UNIX) for _ in range(0 if accepts else 1)]
        for other in others:
            other.connect(str(socket))
        began = time.monotonic()
        with pytest.raises(client.DeadlineExceeded), client.model(str(REF), deadline=0.2):
            raise AssertionError
        assert 0.15 < time.monotonic() - began < 1.0
        for other in others:
            other.close()


def test_a_daemon_that_dies_before_it_answers_is_away(socket: Path) -> None:
    def die() -> None:
        connection, _ = listening.accept()
        connection.recv(100)
        connection.close()

    with sockets.socket(sockets.AF_UNIX) as listening:
        listening.bind(str(socket))
        listening.listen(1)
        thread = threading.Thread(target=die)
        thread.start()
        with pytest.raises(client.DaemonAway), client.model(str(REF), deadline=5):
            raise AssertionError
        thread.join()


@pytest.mark.parametrize("reply", [b"nonsense\r\n\r\n", b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n[]"])
def test_an_answer_that_is_none_is_still_a_typed_error(socket: Path, reply: bytes) -> None:
    def answer_nonsense() -> None:
        connection, _ = listening.accept()
        connection.recv(10_000)
        connection.sendall(reply)
        connection.close()

    with sockets.socket(sockets.AF_UNIX) as listening:
        listening.bind(str(socket))
        listening.listen(1)
        thread = threading.Thread(target=answer_nonsense)
        thread.start()
        with pytest.raises(client.CacheError), client.model(str(REF), deadline=5):
            raise AssertionError
        thread.join()


TYPED = {
    "usage": client.Usage,
    "unauthorized": client.Unauthorized,
    "not_found": client.NotFound,
    "timeout": client.DeadlineExceeded,
    "no_space": client.NoSpace,
    "verification_failed": client.VerificationFailed,
    "origin_unavailable": client.OriginUnavailable,
}
FULL = errors.NoSpace("the disk is full", needed_bytes=3, free_bytes=2, evictable_bytes=1)
PLAIN = [
    kind("it is so", hint="do this")
    for kind in errors.CachemgrError.__subclasses__()
    if kind is not errors.NoSpace and kind.__module__ == errors.__name__
]


@pytest.mark.parametrize("trouble", [*PLAIN, FULL], ids=lambda trouble: trouble.code)
def test_what_the_daemon_raises_arrives_whole(world: World, trouble: errors.CachemgrError) -> None:
    world.trouble = trouble
    with pytest.raises(client.CacheError) as caught, client.model(str(REF)):
        raise AssertionError
    assert type(caught.value) is TYPED.get(trouble.code, client.CacheError)
    found = caught.value
    assert (found.code, found.detail, found.hint) == (trouble.code, trouble.detail, trouble.hint)
    assert found.fields == trouble.fields


@pytest.mark.parametrize("deadline", [0, -5.0])
def test_no_time_left_means_do_not_wait(world: World, deadline: float) -> None:
    with pytest.raises(client.NotFound), client.model(str(REF), deadline=deadline):
        raise AssertionError
    assert world.calls("acquire") == [(str(REF), 0.0, 120.0, "any")]


async def test_waiting_does_not_block_the_loop(world: World, volume: Place) -> None:
    world.answers[str(REF)] = answer(volume)
    world.open.clear()
    asyncio.get_running_loop().call_later(0.05, world.open.set)
    async with client.async_model(str(REF)) as path:
        assert path.tier == "volume"
        assert len(world.holds) == 1
    assert world.holds == set()


async def test_a_cancelled_caller_leaves_no_thread_and_no_hold(world: World, volume: Place) -> None:
    world.answers[str(REF)] = answer(volume)
    world.open.clear()

    async def read() -> None:
        async with client.async_model(str(REF)):
            raise AssertionError

    reading = asyncio.create_task(read())
    await eventually(lambda: world.calls("acquire"))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    world.open.set()
    await eventually(lambda: not threads() and not world.holds)


async def test_a_caller_cancelled_at_any_moment_leaves_no_thread_and_no_lock(
    world: World, volume: Place, disk: Place
) -> None:
    world.answers[str(REF)] = answer(volume)

    async def read() -> None:
        async with client.async_model(str(REF)):
            await asyncio.sleep(0.001)

    for turn in range(40):
        if turn == 20:
            disk.seal(REF)
        reading = asyncio.create_task(read())
        await asyncio.sleep(turn % 20 / 4000)
        reading.cancel()
        await asyncio.wait([reading])
    # Of the daemon's holds one may stay for its time: its answer was on its way to a caller who had left.
    await eventually(lambda: not threads())
    assert removable(disk)


def copy_that_renews_often(tmp_path: Path) -> Path:
    text = Path(client.__file__).read_text()
    often = text.replace("300.0, 120, 10.0", "300.0, 0.06, 10.0")
    assert often != text
    (tmp_path / "impatient.py").write_text(often)
    return tmp_path


@pytest.fixture
def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """A copy of the client whose holds are short: what a handler gets that copied the file."""
    monkeypatch.syspath_prepend(copy_that_renews_often(tmp_path))
    return pytest.importorskip("impatient")


def test_a_hold_of_the_daemon_is_renewed_until_it_is_released(known: Path, volume: Place, impatient: object) -> None:
    world = World(answers={str(REF): answer(volume)})
    with serving(world, known), impatient.model(str(REF)):  # type: ignore[attr-defined]  # made by the fixture
        while len(world.calls("renew")) < 3:
            time.sleep(0.001)
    assert world.holds == set()
    while threads():
        time.sleep(0.001)


def test_a_hold_that_ended_meanwhile_is_taken_again(known: Path, volume: Place, impatient: object) -> None:
    fixed = REF.at(COMMIT)
    world = World(answers={str(REF): answer(volume), str(fixed): answer(volume)})
    with serving(world, known), impatient.model(str(REF)):  # type: ignore[attr-defined]  # made by the fixture
        world.holds.clear()  # as after a restart, or a freeze
        while not world.holds:
            time.sleep(0.001)
        assert world.calls("acquire")[1] == (str(fixed), 0.0, 0.06, "volume")
        renewed = len(world.calls("renew"))
        while len(world.calls("renew")) == renewed:
            time.sleep(0.001)
    assert world.holds == set()


def test_a_daemon_that_went_away_does_not_disturb_the_reader(known: Path, volume: Place, impatient: object) -> None:
    world = World(answers={str(REF): answer(volume)})
    with serving(world, known):
        reading = impatient.model(str(REF))  # type: ignore[attr-defined]  # made by the fixture
        path = reading.__enter__()
    time.sleep(0.1)
    assert path.tier == "volume"
    reading.__exit__(None, None, None)
    while threads():
        time.sleep(0.001)
