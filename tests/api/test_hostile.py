"""Requests that mean harm: none is an internal error, none repeats a secret, none uses the server up."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import cast

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachemgr.api.connection import Limits
from cachemgr.api.responder import BODY_BYTES
from tests.api.conftest import TOKEN, World
from tests.api.fakes import REF

SECRET = "hf_QvZ8kWmPxRtYcBnLdFgHjKs"

BODIES: Mapping[str, Mapping[str, object]] = {
    "POST /v1/models/acquire": {
        "ref": REF,
        "wait": False,
        "hold_seconds": 1,
        "tier": "any",
        "max_age": 1,
        "timeout": 1,
    },
    "POST /v1/holds/h0/renew": {"seconds": 1},
    "POST /v1/models/prefetch": {"ref": REF, "tier": "disk", "include": ["a"], "exclude": ["b"], "allow_stale": True},
    "POST /v1/evict": {"tier": "disk", "ref": REF, "bytes": 1, "dry_run": True},
    "POST /v1/verify": {"ref": REF, "tier": "disk"},
    "POST /v1/checkpoints/push": {"directory": "/a", "to": "s3://bucket/a", "name": "n"},
    "POST /v1/checkpoints/pull": {"directory": "/a", "source": "s3://bucket/a", "name": "n"},
    "DELETE /v1/models/hf--acme--m20--x": {},
}

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400)
    | st.sampled_from(["hf://acme/m20", "hf://../../x", "s3://b/../x", "/a\0b", "\ud800", "any", "NaN", ""])
)  # fmt: skip
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@pytest.fixture
async def raw(world: World) -> AsyncIterator[World]:
    """A world whose logs may say nothing worse than a warning."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = records.append  # type: ignore[method-assign, assignment]  # a handler that keeps what it is given
    logging.getLogger().addHandler(handler)
    yield world
    logging.getLogger().removeHandler(handler)
    assert [record.getMessage() for record in records] == []


async def post(world: World, call: str, body: bytes) -> tuple[int, str]:
    """Status and text; what is an error is a problem document."""
    method, path = call.split(" ")
    async with world.unix.request(method, path, data=body) as response:
        text = await response.text()
        if response.status >= 400:
            assert {"code", "detail", "hint", "status"} <= json.loads(text).keys()
        return response.status, text


def settled(examples: int) -> settings:
    """One server serves all examples of a test."""
    return settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("call", BODIES)
async def test_no_body_is_an_internal_error(raw: World, call: str) -> None:
    good = BODIES[call]
    asked: list[bytes] = []

    @settled(120)
    @given(st.sampled_from([*good, "extra"]), values)
    def one_wrong_member(member: str, value: object) -> None:
        asked.append(json.dumps({**good, member: value}).encode())

    @settled(60)
    @given(st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
    def anything(body: bytes) -> None:
        asked.append(body)

    one_wrong_member()
    anything()
    for body in asked:
        status, text = await post(raw, call, body)
        assert status != 500, (body, text)
        for transfer in raw.transfers.list():
            raw.transfers.cancel(transfer.id)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe{}",
        b'{"ref": "\xc3\x28"}',
        b'{"ref": "\\ud800"}',
        b"[" * 100_000,
        b'{"ref":' * 5_000,
        b'{"ref": "' + b"a" * 900_000 + b'"}',
        b'{"wait": NaN, "ref": "hf://acme/m20"}',
        b'{"wait": 1e999, "ref": "hf://acme/m20"}',
        b'{"wait": -1, "ref": "hf://acme/m20"}',
        b'{"hold_seconds": true, "ref": "hf://acme/m20"}',
        b'{"hold_seconds": "600", "ref": "hf://acme/m20"}',
        b'{"ref": ["hf://acme/m20"]}',
        b"null",
        b"[]",
        b'"x"',
        b"",
    ],
    ids=range(16),
)
async def test_bodies_that_are_no_request_are_refused_as_such(raw: World, body: bytes) -> None:
    assert (await post(raw, "POST /v1/models/acquire", body))[0] == 400


async def test_paths_and_queries_of_any_kind_are_no_internal_error(raw: World) -> None:
    asked: list[str] = []

    @settled(150)
    @given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60))
    def anything(tail: str) -> None:
        asked.append(tail)

    anything()
    for tail in asked:
        for path in (f"/v1/models/{tail}", f"/v1/transfers/{tail}/events", f"/v1/checkpoints?{tail}", f"/{tail}"):
            answer = await speak(raw, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            assert b" 500 " not in answer.split(b"\r\n")[0], path


@asynccontextmanager
async def connected(
    world: World, tcp: bool = False
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection."""
    if tcp:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    else:
        reader, writer = await asyncio.open_unix_connection(world.socket)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def speak(world: World, request: bytes, tcp: bool = False) -> bytes:
    """All that the server says to these bytes until it closes."""
    async with connected(world, tcp) as (reader, writer), asyncio.timeout(8):
        writer.write(request)
        try:
            return await reader.read()
        except ConnectionError:
            return b""


@pytest.mark.parametrize(
    "request_",
    [
        f"GET /v1/models?token={SECRET} HTTP/9.9\r\n\r\n",
        f"{SECRET}\r\n\r\n",
        f"GET / HTTP/1.1\r\nBad Header {SECRET}\r\n\r\n",
        f"GET / HTTP/1.1\r\nX: {SECRET * 1000}\r\n\r\n",
        f"GET /{SECRET * 1000} HTTP/1.1\r\n\r\n",
        f"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Length: {SECRET}\r\n\r\n",
        f"POST /v1/verify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{SECRET}\r\n",
        f"POST /v1/verify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 28\r\n\r\n[{SECRET}]",
        f"GET /v1/models?{SECRET}=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        f"GET /v1/models?tier={SECRET} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        f"GET /{SECRET} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        f"GET /v1/models HTTP/1.1\r\nHost: {SECRET}\r\nAuthorization: Bearer {SECRET}\r\nConnection: close\r\n\r\n",
    ],
    ids=range(12),
)
async def test_no_answer_and_no_log_repeats_what_may_be_secret(
    world: World, request_: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for tcp in (False, True):
        answer = await speak(world, request_.encode(), tcp)
        assert SECRET.encode() not in answer
        assert b" 500 " not in answer.split(b"\r\n")[0]
    assert SECRET not in caplog.text


async def test_member_values_and_names_that_may_be_secret_are_not_repeated(raw: World) -> None:
    for body in ({SECRET + "-12345": 1}, {"ref": {"token": SECRET}}, {"ref": REF, "wait": SECRET}, {"tier": SECRET}):
        status, text = await post(raw, "POST /v1/models/acquire", json.dumps(body).encode())
        assert status == 400
        assert SECRET not in text
    body = {"directory": "/a", "to": f"s3://key:{SECRET}@bucket/x"}
    status, text = await post(raw, "POST /v1/checkpoints/push", json.dumps(body).encode())
    assert status == 400
    assert SECRET not in text


async def test_a_body_over_the_limit_is_refused_however_it_comes(raw: World) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(BODY_BYTES // 65536 + 2):
            yield b" " * 65536

    for size, expected in [(BODY_BYTES, 202), (BODY_BYTES + 1, 413)]:
        async with raw.unix.post("/v1/verify", data=io.BytesIO(b" " * size)) as response:
            assert response.status == expected
    async with raw.unix.post("/v1/verify", data=chunks()) as response:
        assert response.status == 413
    declared = b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
    assert b" 413 " in await speak(raw, declared)


async def test_a_compressed_body_is_never_unfolded(raw: World) -> None:
    headers = {"Content-Encoding": "gzip"}
    async with raw.unix.post("/v1/verify", data=b"\x1f\x8b\x08\0\0\0\0\0", headers=headers) as response:
        assert response.status == 400


async def test_a_client_that_asks_before_it_sends_its_body_is_told_to_go_on(raw: World) -> None:
    async with connected(raw) as (reader, writer):
        writer.write(b"POST /v1/evict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        writer.write(b"{}")
        await reader.readline()
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"


class TestTcp:
    """Whoever comes over the network."""

    async def test_the_token_opens_everything_and_nothing_opens_without_it(self, world: World) -> None:
        async with world.tcp.get("/v1/df") as response:
            assert response.status == 200
        url = f"http://127.0.0.1:{world.port}"
        wrong = ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer \xff\xfe", "Bearer ä"]
        async with aiohttp.ClientSession(url) as session:
            for path in ("/v1/df", "/openapi.json", "/nowhere", "/v1/transfers/x/events"):
                async with session.get(path) as response:
                    assert response.status == 401
                    assert response.headers["WWW-Authenticate"].startswith("Bearer")
            for value in wrong:
                async with session.get("/v1/df", headers={"Authorization": value}) as response:
                    assert response.status == 401, value
                    assert TOKEN not in await response.text()
            async with session.get("/v1/df", headers={"Authorization": f"bearer  {TOKEN} "}) as response:
                assert response.status == 200

    @pytest.mark.parametrize(
        ("host", "status"),
        [
            ("127.0.0.1", 200),
            ("127.0.0.1:80", 200),
            ("localhost:9470", 200),
            ("[::1]:9470", 200),
            ("10.1.2.3", 200),
            (socket.gethostname(), 200),
            ("evil.example", 421),
            ("127.0.0.1.evil.example", 421),
            ("localhost.evil.example", 421),
            ("evil@localhost@evil.example", 421),
            ("", 421),
            ("[", 421),
        ],
    )
    async def test_a_host_that_is_not_ours_is_refused(self, world: World, host: str, status: int) -> None:
        async with world.tcp.get("/v1/df", headers={"Host": host}) as response:
            assert response.status == status

    async def test_no_or_two_hosts_are_refused(self, world: World) -> None:
        head = f"GET /v1/df HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n"
        for hosts in ("", "Host: localhost\r\nHost: evil.example\r\n"):
            status = (await speak(world, f"{head}{hosts}\r\n".encode(), tcp=True)).split(b" ")[1]
            assert status in (b"400", b"421")


class TestSlow:
    """Clients that take their time."""

    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(connections=4, header_seconds=0.3, idle_seconds=0.6)

    @pytest.mark.parametrize("first", [b"", b"GET /v1/df HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["first", "second"])
    async def test_a_header_that_trickles_in_ends_the_connection(self, world: World, first: bytes) -> None:
        trickle = b"GET /v1/df HTTP/1.1\r\n" + b"X: y\r\n" * 100
        sent = 0
        async with connected(world) as (reader, writer):
            writer.write(first)
            while not reader.at_eof() and not writer.is_closing() and sent < 60:
                writer.write(trickle[sent : sent + 1])
                sent += 1
                await asyncio.sleep(0.05)
        assert sent < 60

    async def test_an_idle_connection_ends(self, world: World) -> None:
        assert (await speak(world, b"GET /v1/df HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await speak(world, b"") == b""

    async def test_a_waiting_caller_is_not_idle(self, world: World) -> None:
        async with asyncio.TaskGroup() as group:
            body = {"ref": "hf://acme/slow", "hold_seconds": 0}
            asking = group.create_task(_status(world, body))
            await world.models.gate.started.wait()
            await asyncio.sleep(1.0)
            world.models.gate.open.set()
            assert await asking == 200

    async def test_a_body_that_trickles_in_is_given_up(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cachemgr.api.responder.BODY_SECONDS", 0.2)
        answer = await speak(world, b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        assert answer.startswith(b"HTTP/1.1 408")

    async def test_one_connection_too_many_is_told_so_and_room_comes_back(self, world: World) -> None:
        request = b"GET /v1/df HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        async with AsyncExitStack() as crowd:
            for _ in range(4):
                await crowd.enter_async_context(connected(world))
            answer = await speak(world, request)
        assert answer.startswith(b"HTTP/1.1 503")
        assert json.loads(answer.split(b"\r\n\r\n")[1])["code"] == "held"
        assert (await speak(world, request)).startswith(b"HTTP/1.1 200")

    async def test_a_caller_that_does_not_read_its_answer_loses_it(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cachemgr.api.responder.WRITE_SECONDS", 0.2)
        world.models.many = 6_000  # more than the socket holds; making more would take the loop
        async with connected(world) as (reader, writer):
            reading = cast(asyncio.ReadTransport, writer.transport)
            reading.pause_reading()
            writer.write(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(1.0)
            async with world.unix.get("/v1/df") as response:
                assert response.status == 200
            reading.resume_reading()
            with suppress(ConnectionError):
                async with asyncio.timeout(5):
                    assert not (await reader.read()).endswith(b"0\r\n\r\n")


async def _status(world: World, body: object) -> int:
    async with world.unix.post("/v1/models/acquire", json=body) as response:
        return response.status
