"""At the end a push of a checkpoint has its grace; everything else is cancelled at once."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry

from cachemgr.library.transfers import Transfer, Transfers
from cachemgr.metrics import Metrics


async def test_a_push_may_finish_and_a_pull_is_cancelled() -> None:
    gate = asyncio.Event()

    async def job(_: Transfer) -> None:
        await gate.wait()

    async with asyncio.TaskGroup() as tasks:
        transfers = Transfers(tasks, Metrics(CollectorRegistry()))
        push, pull = transfers.start("checkpoint_push", "a", job), transfers.start("pull", "b", job)
        await asyncio.sleep(0)
        draining = asyncio.create_task(transfers.drain("checkpoint_push", 10))
        await pull.wait(5)
        assert (pull.state, push.state) == ("cancelled", "running")
        assert transfers.start("pull", "late", job).final
        gate.set()
        await draining
        assert push.state == "done"


async def test_grace_ends() -> None:
    async def job(_: Transfer) -> None:
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        transfers = Transfers(tasks, Metrics(CollectorRegistry()))
        push = transfers.start("checkpoint_push", "a", job)
        await asyncio.sleep(0)
        await transfers.drain("checkpoint_push", 0.05)
        assert push.state == "cancelled"
