"""What every kind of hold owes a reader and a remover."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

from cachemgr.aio.iopool import IoPool
from cachemgr.domain.errors import Held, TierUnavailable, Usage
from cachemgr.tiers.holds import FlockHolds, Hold
from cachemgr.tiers.holds_volume import FileHolds
from cachemgr.tiers.layout import Layout
from tests.tiers import holding

ID = "hf--acme--m20--0123456789012345678901234567890123456789"
OTHER = "hf--acme--m21--0123456789012345678901234567890123456789"


class Holds(Protocol):
    async def take(self, id: str) -> Hold: ...

    def exclusive(self, id: str) -> AbstractAsyncContextManager[bool]: ...

    async def held(self) -> frozenset[str]: ...


@pytest.fixture(params=["flock", "files"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    for directory in layout.directories:
        directory.mkdir()
    return layout


@asynccontextmanager
async def opened(kind: str, layout: Layout, patience_seconds: float = 20) -> AsyncIterator[Holds]:
    pool = IoPool(2, "holds")
    try:
        if kind == "flock":
            yield FlockHolds(layout, pool, patience_seconds)
            return
        holds = FileHolds(layout, pool, settle_seconds=0.02, patience_seconds=patience_seconds)
        yield holds
        await holds.close()
    finally:
        pool.close()


@pytest.fixture
async def holds(kind: str, layout: Layout) -> AsyncIterator[Holds]:
    async with opened(kind, layout) as holds:
        yield holds


@pytest.fixture
async def elsewhere(kind: str, layout: Layout) -> AsyncIterator[Callable[[str, str], Awaitable[Process]]]:
    """Starts another process that takes a hold or is a remover, and is doing so when the call returns."""
    children: list[Process] = []

    async def start(act: str, id: str) -> Process:
        child = await asyncio.create_subprocess_exec(
            sys.executable, holding.__file__, act, kind, str(layout.root), id, stdin=PIPE, stdout=PIPE
        )
        children.append(child)
        assert child.stdout is not None
        assert await child.stdout.readline() == b"alone\n"
        return child

    yield start
    for child in children:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def is_free(holds: Holds, id: str = ID) -> bool:
    async with holds.exclusive(id) as alone:
        return alone


async def test_a_held_snapshot_is_nobodys_to_remove_until_the_last_hold_is_given_back(holds: Holds) -> None:
    first, second = await holds.take(ID), await holds.take(ID)
    assert not await is_free(holds)
    first.release()
    first.release()
    assert not await is_free(holds)
    second.release()
    assert await is_free(holds)


async def test_a_hold_is_given_back_by_leaving_its_block(holds: Holds) -> None:
    with await holds.take(ID):
        assert not await is_free(holds)
    assert await is_free(holds)


async def test_one_snapshots_hold_does_not_protect_another(holds: Holds) -> None:
    with await holds.take(ID):
        assert await is_free(holds, OTHER)


async def test_a_reader_waits_for_a_removal_to_end(holds: Holds) -> None:
    async with holds.exclusive(ID) as alone:
        assert alone
        reader = asyncio.create_task(holds.take(ID))
        await asyncio.sleep(0.05)
        assert not reader.done()
        other = await holds.take(OTHER)
        other.release()
    (await reader).release()


async def test_many_waiting_readers_do_not_keep_the_remover_from_its_threads(holds: Holds) -> None:
    async with holds.exclusive(ID) as alone:
        assert alone
        readers = [asyncio.create_task(holds.take(ID)) for _ in range(20)]
        await asyncio.sleep(0.05)
        assert await holds.held() == {ID}
    for reader in readers:
        (await reader).release()


async def test_a_removal_without_end_is_an_error_for_its_readers(kind: str, layout: Layout) -> None:
    async with opened(kind, layout, patience_seconds=0.05) as holds:
        async with holds.exclusive(ID) as alone:
            assert alone
            with pytest.raises(Held, match="in removal"):
                await holds.take(ID)
        assert await is_free(holds)


async def test_two_removers_never_both_succeed(holds: Holds) -> None:
    inside = 0

    async def remove() -> bool:
        nonlocal inside
        async with holds.exclusive(ID) as alone:
            if alone:
                inside += 1
                assert inside == 1
                await asyncio.sleep(0.01)
                inside -= 1
        return alone

    await asyncio.gather(*(remove() for _ in range(10)))
    assert await is_free(holds)


async def test_a_remover_that_fails_leaves_the_snapshot_free(holds: Holds) -> None:
    with pytest.raises(ZeroDivisionError):
        async with holds.exclusive(ID):
            raise ZeroDivisionError
    assert await is_free(holds)
    (await holds.take(ID)).release()


async def test_held_names_what_is_held_and_nothing_else(holds: Holds) -> None:
    assert await holds.held() == frozenset()
    with await holds.take(ID), await holds.take(OTHER) as other:
        assert await holds.held() == {ID, OTHER}
        other.release()
        assert await holds.held() == {ID}
    assert await holds.held() == frozenset()


async def test_a_cancelled_reader_leaves_no_hold(holds: Holds) -> None:
    async with holds.exclusive(ID):
        reader = asyncio.create_task(holds.take(ID))
        await asyncio.sleep(0.02)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
    for turn in range(50):
        reader = asyncio.create_task(holds.take(ID))
        for _ in range(turn % 7):
            await asyncio.sleep(0)
        reader.cancel()
        await asyncio.wait([reader])
        if not reader.cancelled():
            reader.result().release()
    assert await holds.held() == frozenset()
    assert await is_free(holds)


async def test_a_cancelled_remover_leaves_the_snapshot_free(holds: Holds) -> None:
    for turn in range(50):
        remover = asyncio.create_task(is_free(holds))
        for _ in range(turn % 11):
            await asyncio.sleep(0.001)
        remover.cancel()
        await asyncio.wait([remover])
    (await holds.take(ID)).release()
    assert await is_free(holds)


@pytest.mark.parametrize("id", ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\0b", "x" * 256])
async def test_an_id_that_is_no_file_name_is_refused(holds: Holds, id: str) -> None:
    with pytest.raises(Usage):
        await holds.take(id)
    with pytest.raises(Usage):
        await is_free(holds, id)


async def test_a_tier_that_is_not_there_is_a_clear_error(kind: str, tmp_path: Path) -> None:
    async with opened(kind, Layout(tmp_path / "gone")) as holds:
        with pytest.raises(TierUnavailable):
            await holds.take(ID)
        with pytest.raises(TierUnavailable):
            await is_free(holds)
        assert await holds.held() == frozenset()


async def test_nothing_but_empty_directories_is_left_behind(holds: Holds, layout: Layout) -> None:
    for id in (ID, OTHER):
        (await holds.take(id)).release()
        assert await is_free(holds, id)
    if isinstance(holds, FileHolds):
        await holds.close()
    assert [path for path in layout.own.rglob("*") if not path.is_dir()] == []


async def test_a_hold_of_another_process_counts_until_its_kill(
    holds: Holds, elsewhere: Callable[[str, str], Awaitable[Process]]
) -> None:
    holder = await elsewhere("take", ID)
    assert await holds.held() == {ID}
    assert not await is_free(holds)
    holder.send_signal(signal.SIGSTOP)
    assert not await is_free(holds)
    holder.kill()
    await holder.wait()
    assert await is_free(holds)
    assert await holds.held() == frozenset()


async def test_a_killed_remover_does_not_lock_readers_out(
    holds: Holds, elsewhere: Callable[[str, str], Awaitable[Process]]
) -> None:
    remover = await elsewhere("remove", ID)
    assert not await is_free(holds)
    reader = asyncio.create_task(holds.take(ID))
    await asyncio.sleep(0.05)
    assert not reader.done()
    remover.kill()
    (await reader).release()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # that it is unwise is why it is tested
async def test_a_forked_child_does_not_prolong_a_hold(holds: Holds) -> None:
    hold = await holds.take(ID)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    hold.release()
    try:
        assert await is_free(holds)
    finally:
        os.close(writing)
        os.close(reading)
        await asyncio.to_thread(os.waitpid, child, 0)
