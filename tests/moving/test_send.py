"""A send puts exactly the range asked for on the wire, once, and reports the answer as it is."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachemgr.domain.errors import OriginUnavailable
from cachemgr.moving.patience import Patience
from cachemgr.moving.plane import DataPlane
from cachemgr.moving.remote import Request
from tests.moving.desk import MIB, noise, remote, seen, target
from tests.moving.origin import Exchange, FaultyOrigin, Hangup

CERTIFICATE = str(Path(__file__).parent / "loopback.pem")


@pytest.fixture(params=["http", "https"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyOrigin]:
    origin = FaultyOrigin()
    if request.param == "https":
        origin.secure(CERTIFICATE)
        monkeypatch.setenv("SSL_CERT_FILE", CERTIFICATE)
    with origin.running():
        yield origin


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(noise(9 * MIB + 7))
    return path


@pytest.mark.parametrize(("offset", "length"), [(0, 9 * MIB + 7), (0, 0), (5, 1), (4 * MIB + 1, 5 * MIB + 6)])
async def test_the_range_arrives(
    plane: DataPlane, either: FaultyOrigin, source: Path, offset: int, length: int
) -> None:
    moved: list[int] = []
    request = Request(f"{either.url}/up?part=1", {"Authorization": "sig", "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"})
    reply = await plane.send(request, source, offset=offset, length=length, progress=moved.append)
    assert (reply.status, reply.headers["etag"]) == (200, '"put"')
    assert either.files["/up?part=1"] == noise(9 * MIB + 7)[offset : offset + length]
    assert sum(moved) == length
    assert either.asked[0].headers["content-length"] == str(length)
    assert either.asked[0].headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"


async def test_connections_are_kept(plane: DataPlane, either: FaultyOrigin, source: Path) -> None:
    for _ in range(5):
        await plane.send(Request(f"{either.url}/up", {}), source, offset=0, length=1000, progress=lambda _: None)
    assert either.connections == 1


@pytest.mark.parametrize("code", [200, 301, 307, 400, 403, 409, 412, 503])
async def test_every_status_is_an_answer(plane: DataPlane, either: FaultyOrigin, source: Path, code: int) -> None:
    either.fail("/up", lambda exchange: exchange.answer(code, b"<Error/>", Location="http://127.0.0.1:1/"))
    request = Request(f"{either.url}/up", {})
    reply = await plane.send(request, source, offset=0, length=MIB, progress=lambda _: None)
    assert (reply.status, reply.body) == (code, b"<Error/>")
    assert len(either.asked) == 1


async def test_a_long_answer_is_cut(plane: DataPlane, either: FaultyOrigin, source: Path) -> None:
    either.fail("/up", lambda exchange: exchange.answer(500, b"x" * MIB))
    reply = await plane.send(Request(f"{either.url}/up", {}), source, offset=0, length=5, progress=lambda _: None)
    assert len(reply.body) == 64 << 10
    reply = await plane.send(Request(f"{either.url}/up", {}), source, offset=0, length=5, progress=lambda _: None)
    assert reply.status == 200


async def test_no_answer_is_not_sent_again(plane: DataPlane, either: FaultyOrigin, source: Path) -> None:
    def hang_up(_: Exchange) -> None:
        raise Hangup

    either.fail("/up", hang_up)
    with pytest.raises(OriginUnavailable):
        await plane.send(Request(f"{either.url}/up", {}), source, offset=0, length=MIB, progress=lambda _: None)
    assert len(either.asked) == 1


async def test_a_file_that_became_shorter_is_an_error(plane: DataPlane, either: FaultyOrigin, source: Path) -> None:
    with pytest.raises(OSError, match="shorter"):
        await plane.send(Request(f"{either.url}/up", {}), source, offset=9 * MIB, length=MIB, progress=lambda _: None)


async def test_an_early_refusal_is_heard(plane: DataPlane, source: Path) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        await writer.drain()
        await reader.read(8 * MIB)
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/up"
        reply = await plane.send(Request(url, {}), source, offset=0, length=9 * MIB, progress=lambda _: None)
    assert (reply.status, reply.body) == (403, b"no")


async def test_a_cancelled_send_ends(source: Path) -> None:
    plane, moved = DataPlane(patience=Patience(stall_seconds=60)), list[int]()
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        request = Request(f"http://127.0.0.1:{deaf.getsockname()[1]}/up", {})
        task = asyncio.create_task(plane.send(request, source, offset=0, length=9 * MIB, progress=moved.append))
        await asyncio.sleep(0.2)
        assert not task.done()
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < 2
    plane.close()


@pytest.mark.parametrize("size", [3 * MIB + 5, 18 * MIB + 1])
async def test_a_fetch_over_either_scheme(plane: DataPlane, either: FaultyOrigin, tmp_path: Path, size: int) -> None:
    either.files["/f"] = data = noise(size)
    into = target(tmp_path / "f", size)
    found = await plane.fetch(remote(either, "/f", size), [into], git_sha1=True, progress=lambda _: None)
    assert found == seen(data)


async def test_a_certificate_nobody_vouches_for_is_refused(plane: DataPlane, tmp_path: Path) -> None:
    origin = FaultyOrigin()
    origin.secure(CERTIFICATE)
    into = target(tmp_path / "f", 5)
    with origin.running(), pytest.raises(OriginUnavailable, match="certificate") as caught:
        await plane.fetch(remote(origin, "/f", 5), [into], git_sha1=False, progress=lambda _: None)
    assert "SSL_CERT_FILE" in caught.value.hint


async def test_https_never_becomes_http(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", CERTIFICATE)
    secured = FaultyOrigin()
    secured.secure(CERTIFICATE)
    with secured.running():
        secured.fail("/f", lambda exchange: exchange.answer(302, Location=f"{origin.url}/f"))
        with pytest.raises(OriginUnavailable, match="from https to http"):
            await plane.fetch(
                remote(secured, "/f", 5), [target(tmp_path / "f", 5)], git_sha1=False, progress=lambda _: None
            )
    assert origin.asked == []
