"""Every call of the API, as its callers see it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest

from cachemgr.domain.errors import (
    CachemgrError,
    DeadlineExceeded,
    Held,
    NoSpace,
    NotFound,
    OriginUnavailable,
    TierUnavailable,
    Unauthorized,
    Usage,
    VerificationFailed,
)
from tests.api.conftest import World
from tests.api.fakes import ID, PATH, REF, WHEN

Json = dict[str, object]


async def ask(world: World, method: str, path: str, body: object = None) -> tuple[int, Json]:
    """Status and JSON object of one call on the unix socket."""
    async with world.unix.request(method, path, json=body) as response:
        answer = await response.json(content_type=None) if response.status != 204 else {}
        if response.status >= 400:
            assert response.content_type == "application/problem+json"
            assert answer["status"] == response.status
            assert {"type", "title", "code", "detail", "hint"} <= answer.keys()
        assert isinstance(answer, dict), answer
        return response.status, answer


async def ask_list(world: World, method: str, path: str) -> list[Json]:
    """The JSON list that one call answers."""
    async with world.unix.request(method, path) as response:
        assert response.status == 200
        answer = await response.json()
        assert isinstance(answer, list)
        return answer


async def test_acquire_answers_with_a_held_directory(world: World) -> None:
    status, answer = await ask(world, "POST", "/v1/models/acquire", {"ref": "hf://acme/m20"})
    assert status == 200
    assert answer == {
        "ref": REF, "id": ID, "revision": ID[-40:], "path": PATH, "tier": "disk", "hold": "h0", "expires_at": WHEN,
        "resolved_at": WHEN, "stale": False,
    }  # fmt: skip
    assert world.models.holds == {"h0": 600}


@pytest.mark.parametrize(
    ("asked", "wait"),
    [
        ({}, None),
        ({"wait": True}, None),
        ({"wait": False}, 0),
        ({"wait": 7}, 7),
        ({"wait": 2.5}, 2.5),
        ({"timeout": 9}, 9),
        ({"wait": 7, "timeout": 5}, 5),
        ({"wait": False, "timeout": 5}, 0),
    ],
)
async def test_how_long_acquire_waits(world: World, asked: Json, wait: float | None) -> None:
    await ask(world, "POST", "/v1/models/acquire", {"ref": REF, **asked})
    assert world.models.asked == [(REF, wait)]


async def test_acquire_without_a_hold_takes_none(world: World) -> None:
    _, answer = await ask(world, "POST", "/v1/models/acquire", {"ref": REF, "hold_seconds": 0})
    assert (answer["hold"], world.models.holds) == (None, {})


async def test_acquire_says_timeout_when_the_deadline_passes_whatever_is_below(world: World) -> None:
    status, answer = await ask(world, "POST", "/v1/models/acquire", {"ref": "hf://acme/slow", "timeout": 0.05})
    assert (status, answer["code"]) == (504, "timeout")
    assert world.models.gate.cancelled


async def test_a_caller_that_leaves_ends_its_waiting(world: World) -> None:
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(ask(world, "POST", "/v1/models/acquire", {"ref": "hf://acme/slow"}))
        await world.models.gate.started.wait()
        asking.cancel()
    async with asyncio.timeout(5):
        await world.models.gate.ended.wait()
    assert world.models.holds == {}


async def test_holds_are_renewed_and_released(world: World) -> None:
    await ask(world, "POST", "/v1/models/acquire", {"ref": REF})
    assert await ask(world, "POST", "/v1/holds/h0/renew", {"seconds": 30}) == (200, {"hold": "h0", "expires_at": WHEN})
    assert world.models.holds == {"h0": 30}
    assert (await ask(world, "DELETE", "/v1/models/" + ID))[0] == 409
    assert (await ask(world, "DELETE", "/v1/holds/h0"))[0] == 204
    assert (await ask(world, "DELETE", "/v1/holds/h0"))[0] == 404


async def test_models_are_listed_shown_pinned_and_removed_by_id_or_ref(world: World) -> None:
    assert [model["id"] for model in await ask_list(world, "GET", "/v1/models?tier=disk")] == [ID + "0"]
    for name in (ID, quote(REF, safe=""), quote("hf://acme/m20", safe="")):
        assert [model["id"] for model in await ask_list(world, "GET", f"/v1/models/{name}")] == [ID]
        assert (await ask_list(world, "PUT", f"/v1/models/{name}/pin"))[0]["pinned"] is True
        assert world.models.pinned == {ID}
        assert (await ask_list(world, "DELETE", f"/v1/models/{name}/pin?tier=disk"))[0]["pinned"] is False
        status, removed = await ask(world, "DELETE", f"/v1/models/{name}?tier=volume&dry_run=true")
        assert (status, removed) == (200, {"tier": "volume", "ids": [ID], "freed_bytes": 1000, "dry_run": True})
    assert (await ask(world, "GET", "/v1/models/hf--acme--none--main"))[0] == 404


async def test_a_very_long_listing_is_one_json_list(world: World) -> None:
    for many in (0, 1, 200, 201, 1000, 1001):
        world.models.many = many
        listing = await ask_list(world, "GET", "/v1/models")
        assert [model["id"] for model in listing] == [f"{ID}{n}" for n in range(many)]


async def test_prefetch_is_a_transfer_with_a_result(world: World) -> None:
    status, view = await ask(world, "POST", "/v1/models/prefetch", {"ref": "hf://acme/m20", "include": ["*.json"]})
    assert (status, view["kind"], view["ref"]) == (202, "pull", REF)
    world.movers.gate.open.set()
    await world.transfers.get(str(view["id"])).wait()
    status, view = await ask(world, "GET", f"/v1/transfers/{view['id']}")
    result = view["result"]
    assert isinstance(result, dict)
    assert (status, view["state"], result["fetched_bytes"]) == (200, "done", 100)
    assert [known["id"] for known in await ask_list(world, "GET", "/v1/transfers")] == [view["id"]]


async def test_prefetch_to_the_disk_is_a_promotion(world: World) -> None:
    _, view = await ask(world, "POST", "/v1/models/prefetch", {"ref": REF, "tier": "disk"})
    assert view["kind"] == "promote"


async def test_a_failed_transfer_carries_a_whole_problem_document(world: World) -> None:
    world.movers.error = VerificationFailed("bytes differ", file="a.bin")
    world.movers.gate.open.set()
    _, view = await ask(world, "POST", "/v1/models/prefetch", {"ref": REF})
    await world.transfers.get(str(view["id"])).wait()
    _, view = await ask(world, "GET", f"/v1/transfers/{view['id']}")
    error = view["error"]
    assert isinstance(error, dict)
    assert (error["code"], error["status"], error["file"]) == ("verification_failed", 502, "a.bin")


async def test_a_transfer_is_cancelled(world: World) -> None:
    _, view = await ask(world, "POST", "/v1/models/prefetch", {"ref": REF})
    await world.movers.gate.started.wait()
    status, view = await ask(world, "DELETE", f"/v1/transfers/{view['id']}")
    assert (status, view["state"]) == (200, "cancelled")
    assert world.movers.gate.cancelled
    assert (await ask(world, "DELETE", "/v1/transfers/none"))[0] == 404


async def test_evict_verify_df_and_status(world: World) -> None:
    status, removed = await ask(world, "POST", "/v1/evict", {"bytes": 10, "dry_run": True})
    assert (status, removed["tier"], removed["dry_run"]) == (200, "disk", True)
    status, view = await ask(world, "POST", "/v1/verify", {})
    assert (status, view["kind"], view["ref"]) == (202, "verify", "everything")
    assert (await ask_list(world, "GET", "/v1/df"))[0]["used_bytes"] == 10
    _, state = await ask(world, "GET", "/v1/status")
    models = state["models"]
    assert isinstance(models, list)
    assert models[1]["error"]["status"] == 404


async def test_checkpoints_are_pushed_pulled_and_listed(world: World) -> None:
    status, view = await ask(world, "POST", "/v1/checkpoints/push", {"directory": "/out", "to": "s3://bucket/run"})
    assert (status, view["kind"], view["ref"]) == (202, "checkpoint_push", "s3://bucket/run")
    body = {"directory": "/in", "source": "s3://bucket/run", "name": "step-7"}
    status, view = await ask(world, "POST", "/v1/checkpoints/pull", body)
    await world.transfers.get(str(view["id"])).wait()
    _, view = await ask(world, "GET", f"/v1/transfers/{view['id']}")
    assert view["result"] == {"name": "step-7", "seq": 1}
    assert await ask_list(world, "GET", "/v1/checkpoints?at=s3://bucket/run") == [{"name": "step-1", "seq": 1}]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Usage("x"), 400, "usage"),
        (Unauthorized("x"), 401, "unauthorized"),
        (NotFound("x"), 404, "not_found"),
        (Held("x"), 409, "held"),
        (VerificationFailed("x"), 502, "verification_failed"),
        (OriginUnavailable("x"), 503, "origin_unavailable"),
        (DeadlineExceeded("x"), 504, "timeout"),
        (NoSpace("x", needed_bytes=1, free_bytes=0, evictable_bytes=0), 507, "no_space"),
        (TierUnavailable("x"), 500, "tier_unavailable"),
        (CachemgrError("x"), 500, "internal"),
        (RuntimeError("hf_secret"), 500, "internal"),
        (TimeoutError("hf_secret"), 500, "internal"),
        (ExceptionGroup("several", [ValueError("hf_secret"), NotFound("x")]), 404, "not_found"),
    ],
)
async def test_each_error_has_its_status(world: World, error: BaseException, status: int, code: str) -> None:
    world.models.error = error
    for answered in (
        await ask(world, "POST", "/v1/models/acquire", {"ref": REF}),
        await ask(world, "GET", "/v1/models"),
    ):
        assert (answered[0], answered[1]["code"]) == (status, code)
        assert "hf_secret" not in str(answered)


async def test_what_is_not_there_and_what_cannot_be_done_are_said_as_problems(world: World) -> None:
    for method, path, status in [
        ("GET", "/", 404),
        ("GET", "/v2/models", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "/v1/transfers/x/y", 404),
        ("GET", "/v1/models/acquire/pin", 405),
        ("PATCH", "/v1/models", 405),
        ("POST", "/v1/df", 405),
        ("GET", "/v1/models?teir=disk", 400),
        ("GET", "/v1/models?tier=disk&tier=volume", 400),
        ("GET", "/v1/models?tier=tape", 400),
        ("GET", "/v1/checkpoints", 400),
        ("GET", f"/v1/models/{quote('../../etc/passwd', safe='')}", 400),
        ("GET", f"/v1/models/{quote('hf://acme/../x', safe='')}", 400),
        ("GET", "/v1/models/%ff", 400),
        ("GET", "/v1/models/%00", 400),
    ]:
        assert (await ask(world, method, path))[0] == status, (method, path)


async def test_a_misspelt_member_is_refused_with_the_nearest_known_one(world: World) -> None:
    status, problem = await ask(world, "POST", "/v1/models/acquire", {"ref": REF, "hold_second": 1})
    assert (status, problem["code"]) == (400, "usage")
    assert problem["detail"] == "the body: hold_second is not known (did you mean hold_seconds?)"
    assert "hold_seconds" in str(problem["hint"])


async def test_events_are_states_in_order_and_end(world: World) -> None:
    _, view = await ask(world, "POST", "/v1/models/prefetch", {"ref": REF})
    await world.movers.gate.started.wait()
    states = []
    async with world.unix.get(f"/v1/transfers/{view['id']}/events") as response:
        assert response.content_type == "text/event-stream"
        async for raw in response.content:
            line = raw.decode().strip()
            if line.startswith("data: "):
                states.append(json.loads(line[6:]))
                world.movers.gate.open.set()
            else:
                assert line in ("", "event: state")
    assert [states[0]["state"], states[-1]["state"]] == ["running", "done"]
    assert [state["done_bytes"] for state in states] == sorted(state["done_bytes"] for state in states)
    assert states[-1]["result"]["id"] == ID
    assert (await ask(world, "GET", "/v1/transfers/none/events"))[0] == 404


async def test_a_reader_of_events_may_leave_at_any_time(world: World) -> None:
    _, view = await ask(world, "POST", "/v1/models/prefetch", {"ref": REF})
    async with world.unix.get(f"/v1/transfers/{view['id']}/events") as response:
        await response.content.readline()
    world.movers.gate.open.set()
    await world.transfers.get(str(view["id"])).wait()
    assert (await ask(world, "GET", f"/v1/transfers/{view['id']}"))[1]["state"] == "done"


async def test_a_handler_that_is_stuck_ends_with_the_server(world: World, tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(_disconnected(world))
        await world.models.gate.started.wait()
        await world.server.close(0.05)
        assert await asking
    assert world.models.gate.cancelled
    assert not world.socket.exists()


async def _disconnected(world: World) -> bool:
    try:
        await ask(world, "POST", "/v1/models/acquire", {"ref": "hf://acme/slow"})
    except aiohttp.ClientError:
        return True
    return False
