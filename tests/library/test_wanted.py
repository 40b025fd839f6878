"""The configured models: pulled, then promoted in order while they fit; what fails is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from cachemgr.domain.marks import Watermarks
from cachemgr.library import wanted as module
from cachemgr.library.answers import ModelState
from tests.library.stage import SIZE, Floor, Hub, Library, flip, library, unlike


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once."""
    monkeypatch.setattr(module, "FIRST_RETRY_SECONDS", 0.05)


async def until(wanted: module.Wanted, condition: Callable[[tuple[ModelState, ...]], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition(wanted.states()):  # noqa: ASYNC110 - states are values, and nobody tells when they change
            await asyncio.sleep(0.01)


async def test_they_are_all_pulled_and_then_promoted_in_order(lib: Library, hub: Hub) -> None:
    refs = [hub.add(f"acme/{name}", unlike(name)) for name in ("a", "b")]
    wanted = lib.wanted(*refs)
    assert [state.state for state in wanted.states()] == ["waiting", "waiting"]
    await wanted.run()
    assert [(state.state, state.tier) for state in wanted.states()] == [("ready", "disk")] * 2
    kinds = [(transfer.kind, transfer.ref) for transfer in lib.transfers.list()]
    assert kinds == [(kind, str(ref)) for kind in ("pull", "promote") for ref in refs]


async def test_what_would_not_fit_below_high_stays_on_the_volume(tmp_path: Path, hub: Hub) -> None:
    marks = Watermarks(2 * SIZE, 2 * SIZE, 3 * SIZE, 0)
    refs = [hub.add(f"acme/{name}", unlike(name)) for name in ("a", "b", "c")]
    async with library(tmp_path, hub, {"disk": Floor(marks), "volume": Floor()}) as lib:
        wanted = lib.wanted(*refs, disk_bytes=2 * SIZE)
        await wanted.run()
        assert [state.tier for state in wanted.states()] == ["disk", "disk", "volume"]
        assert lib.on("disk") == {"a", "b"}


async def test_a_disk_without_room_leaves_them_ready_on_the_volume(tmp_path: Path, hub: Hub) -> None:
    async with library(tmp_path, hub, {"disk": Floor(Watermarks(1, 2, 3, 0)), "volume": Floor()}) as lib:
        wanted = lib.wanted(hub.add("acme/a"))
        await wanted.run()
        (state,) = wanted.states()
        assert (state.state, state.tier, state.error) == ("ready", "volume", None)


async def test_a_failure_is_told_and_tried_again(lib: Library, hub: Hub) -> None:
    ref, late = hub.add("acme/a"), hub.add("acme/late")
    hub.http.fail(hub.place(ref, "model-1.safetensors"), flip)
    head = hub.heads.pop(("acme/late", "main"))
    wanted = lib.wanted(ref, late)
    running = asyncio.create_task(wanted.run())
    await until(wanted, lambda states: states[1].state == "failed")
    error = wanted.states()[1].error
    assert error is not None
    assert error["code"] == "not_found"
    hub.heads["acme/late", "main"] = head
    await running
    assert [state.state for state in wanted.states()] == ["ready", "ready"]


async def test_a_stale_model_is_ready_and_asked_about_until_the_origin_is_back(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    await lib.pull(ref)
    hub.away = True
    wanted = lib.wanted(ref)
    running = asyncio.create_task(wanted.run())
    await until(wanted, lambda states: states[0].state == "ready" and states[0].tier == "disk")
    assert wanted.stale_count() == 1
    hub.away = False
    await running
    assert wanted.stale_count() == 0
    assert wanted.states()[0].state == "ready"
