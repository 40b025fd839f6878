"""Transfers: progress from threads, one error boundary, events to the end, bounded memory."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry

from cachemgr.domain.errors import NoSpace, NotFound, OriginUnavailable
from cachemgr.library.answers import TransferView
from cachemgr.library.transfers import Transfer, Transfers
from cachemgr.metrics import Metrics
from tests.api.fakes import Gate


@dataclass(frozen=True)
class Result:
    """What a job returns."""

    files: tuple[str, ...]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
async def transfers(metrics: Metrics) -> AsyncIterator[Transfers]:
    async with asyncio.TaskGroup() as group:
        transfers = Transfers(group, metrics, keep=3)
        yield transfers
        await transfers.close()


async def quick(transfer: Transfer) -> Result:
    return Result(("a",))


async def test_a_job_s_dataclass_becomes_plain_json(transfers: Transfers) -> None:
    transfer = transfers.start("pull", "hf://a/b@main", quick)
    assert transfer.view().state == "queued"
    await transfer.wait()
    view = transfer.view()
    assert (view.state, view.result, view.error) == ("done", {"files": ["a"]}, None)


async def test_progress_from_many_threads_adds_up(transfers: Transfers) -> None:
    gate = Gate()

    async def job(transfer: Transfer) -> None:
        transfer.expect(8 * 5000 * 3, 8)
        await gate()

    transfer = transfers.start("pull", "r", job)
    await gate.started.wait()

    def move() -> None:
        for _ in range(5000):
            transfer.moved(3)
        transfer.file_done()

    threads = [threading.Thread(target=move) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    view = transfer.view()
    assert (view.done_bytes, view.files_done) == (8 * 5000 * 3, 8)
    gate.open.set()


async def test_bytes_moved_again_never_show_more_than_all(transfers: Transfers) -> None:
    gate = Gate()

    async def job(transfer: Transfer) -> None:
        transfer.expect(10, 1)
        transfer.moved(25)
        await gate()

    transfer = transfers.start("pull", "r", job)
    await gate.started.wait()
    assert transfer.view().done_bytes == 10
    transfer.moved(-30)
    assert transfer.view().done_bytes == 0
    gate.open.set()


async def test_a_failing_job_ends_its_own_transfer_and_nothing_else(
    transfers: Transfers, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()

    async def fail(transfer: Transfer) -> None:
        raise NoSpace("no room", needed_bytes=3, free_bytes=1, evictable_bytes=0)

    async def other(transfer: Transfer) -> str:
        await gate()
        return "fine"

    running = transfers.start("pull", "other", other)
    failed = transfers.start("pull", "bad", fail)
    await failed.wait()
    gate.open.set()
    await running.wait()
    error = failed.view().error
    assert error is not None
    assert error["code"] == "no_space"
    assert error["needed_bytes"] == 3
    assert running.view().result == "fine"
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == ["transfer failed"]


async def test_an_unforeseen_error_tells_the_log_and_not_the_caller(
    transfers: Transfers, caplog: pytest.LogCaptureFixture
) -> None:
    async def job(transfer: Transfer) -> None:
        raise RuntimeError("hf_secret")

    transfer = transfers.start("verify", "r", job)
    await transfer.wait()
    assert "hf_secret" not in str(transfer.view())
    error = transfer.view().error
    assert error is not None
    assert error["code"] == "internal"
    assert [r.levelname for r in caplog.records if r.message == "transfer failed"] == ["ERROR"]


async def test_of_several_files_that_failed_at_once_the_foreseen_error_speaks(transfers: Transfers) -> None:
    async def job(transfer: Transfer) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_raise(ValueError("x")))
            group.create_task(_raise(OriginUnavailable("hub is away")))

    transfer = transfers.start("pull", "r", job)
    await transfer.wait()
    error = transfer.view().error
    assert error is not None
    assert error["detail"] == "hub is away"


async def _raise(error: Exception) -> None:
    raise error


async def test_cancel_stops_a_running_job_and_one_that_has_not_begun(transfers: Transfers) -> None:
    gate = Gate()

    async def job(transfer: Transfer) -> None:
        await gate()

    running = transfers.start("pull", "r", job)
    await gate.started.wait()
    unborn = transfers.start("pull", "r", job)
    transfers.cancel(unborn.id)
    transfers.cancel(running.id)
    await asyncio.gather(running.wait(), unborn.wait())
    assert (running.state, unborn.state) == ("cancelled", "cancelled")
    assert gate.cancelled


async def test_what_ended_stays_as_it_ended(transfers: Transfers) -> None:
    transfer = transfers.start("pull", "r", quick)
    await transfer.wait()
    transfers.cancel(transfer.id)
    transfer.verifying()
    await asyncio.sleep(0)
    assert transfer.state == "done"


async def test_only_the_last_ended_ones_are_kept_and_running_ones_always(transfers: Transfers) -> None:
    gate = Gate()

    async def job(transfer: Transfer) -> None:
        await gate()

    running = transfers.start("pull", "running", job)
    for n in range(10):
        await transfers.start("pull", f"r{n}", quick).wait()
    await asyncio.sleep(0)
    assert [transfer.ref for transfer in transfers.list()] == ["running", "r7", "r8", "r9"]
    with pytest.raises(NotFound):
        transfers.get("0" * 16)
    gate.open.set()
    await running.wait()


async def test_close_cancels_waits_and_lets_nothing_start(metrics: Metrics) -> None:
    gate, ended = Gate(), asyncio.Event()

    async def job(transfer: Transfer) -> None:
        try:
            await gate()
        finally:
            await asyncio.sleep(0)
            ended.set()

    async with asyncio.TaskGroup() as group:
        transfers = Transfers(group, metrics)
        transfer = transfers.start("pull", "r", job)
        await gate.started.wait()
        await transfers.close()
        assert ended.is_set()
        assert transfer.state == "cancelled"
        assert transfers.start("pull", "late", job).state == "cancelled"


async def test_counters_add_up_whatever_the_outcome(transfers: Transfers, metrics: Metrics) -> None:
    async def fail(transfer: Transfer) -> None:
        raise NotFound("x")

    async def never(transfer: Transfer) -> None:
        await asyncio.Event().wait()

    started = [transfers.start("pull", "r", job) for job in (quick, fail, never)]
    transfers.cancel(started[2].id)
    for transfer in started:
        await transfer.wait()
    await asyncio.sleep(0)
    read = metrics.registry.get_sample_value
    assert read("cachemgr_transfers_started_total", {"kind": "pull"}) == 3
    for outcome in ("done", "failed", "cancelled"):
        assert read("cachemgr_transfers_finished_total", {"kind": "pull", "outcome": outcome}) == 1
    assert read("cachemgr_transfer_seconds_count", {"kind": "pull"}) == 3


async def test_events_begin_at_once_are_sampled_and_end_with_the_final_state(transfers: Transfers) -> None:
    gate = Gate()

    async def job(transfer: Transfer) -> str:
        transfer.expect(10_000, 1)
        await gate()
        for _ in range(10_000):
            transfer.moved(1)
            if _ % 100 == 0:
                await asyncio.sleep(0.003)
        return "end"

    transfer = transfers.start("pull", "r", job)
    await gate.started.wait()
    seen: list[TransferView] = []
    began = time.monotonic()
    gate.open.set()
    async for view in transfers.events(transfer.id):
        seen.append(view)  # noqa: PERF401 - read one by one, as a caller does
    seconds = time.monotonic() - began
    assert seen[0].state == "running"
    assert (seen[-1].state, seen[-1].result, seen[-1].done_bytes) == ("done", "end", 10_000)
    assert [view.done_bytes for view in seen] == sorted(view.done_bytes for view in seen)
    assert 3 <= len(seen) <= seconds * 10 + 3


async def test_events_of_what_has_ended_are_its_final_state_alone(transfers: Transfers) -> None:
    transfer = transfers.start("pull", "r", quick)
    await transfer.wait()
    assert [view.state async for view in transfers.events(transfer.id)] == ["done"]


async def test_events_show_life_while_nothing_moves(transfers: Transfers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cachemgr.library.transfers.HEARTBEAT_SECONDS", 0.05)

    async def never(transfer: Transfer) -> None:
        await asyncio.Event().wait()

    transfer = transfers.start("pull", "r", never)
    events = transfers.events(transfer.id)
    seen = [await anext(events) for _ in range(4)]
    assert {view.done_bytes for view in seen} == {0}
    await events.aclose()


async def test_a_caller_cannot_start_transfers_without_end(
    transfers: Transfers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cachemgr.library.transfers.UNFINISHED_LIMIT", 2)

    async def never(transfer: Transfer) -> None:
        await asyncio.Event().wait()

    transfers.start("pull", "r", never)
    transfers.start("pull", "r", never)
    with pytest.raises(Exception, match="2 transfers are under way"):
        transfers.start("pull", "r", never)
