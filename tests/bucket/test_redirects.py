"""A store that points elsewhere is not followed: nothing is sent there, and nothing from there is taken."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cachemgr.bucket.bucket import Bucket
from cachemgr.bucket.prints import SMALLEST_PART, take_prints
from cachemgr.bucket.stored import Stored
from cachemgr.domain.errors import OriginUnavailable
from cachemgr.moving.target import Target
from tests.services.s3 import S3Server
from tests.services.s3_faults import Fault, FaultyStore, faulty_store
from tests.services.stores import Rooms, access_to, open_rooms

pytestmark = pytest.mark.integration

TOKEN = "session-token-that-nobody-else-may-see"


@pytest.fixture(scope="session", params=["ministack"])
def server(server: S3Server) -> S3Server:
    return server


@pytest.fixture
def elsewhere(server: S3Server) -> Iterator[FaultyStore]:
    with faulty_store(server) as store:
        yield store


@pytest.fixture
async def faulty_rooms(faulty: FaultyStore) -> AsyncIterator[Rooms]:
    access = replace(access_to(faulty.server), session_token=TOKEN)
    async with open_rooms(faulty.server, lambda _: access) as opened:
        yield opened


async def fetch(rooms: Rooms, bucket: Bucket, path: Path) -> None:
    await rooms.pool.run((path / "back").touch)
    target = Target(path / "back", local=True)
    await rooms.plane.fetch(await bucket.remote("x", 5), [target], git_sha1=False, progress=lambda _: None)


async def send(rooms: Rooms, bucket: Bucket, path: Path, size: int = 5) -> None:
    await rooms.pool.run((path / "file").write_bytes, os.urandom(size))
    prints = await take_prints(rooms.pool, path / "file", size, "none")
    await bucket.send(path / "file", prints, "x", lambda _: None)


DEEDS: dict[str, Callable[[Rooms, Bucket, Path], Awaitable[object]]] = {
    "find": lambda _, bucket, __: bucket.find("x"),
    "get": lambda _, bucket, __: bucket.get("x", 100),
    "put": lambda _, bucket, __: bucket.put("x", b"secret"),
    "list": lambda _, bucket, __: bucket.listed("x"),
    "delete": lambda _, bucket, __: bucket.delete("x"),
    "copy": lambda _, bucket, __: bucket.copy(Stored("x", 1, None, None), "y"),
    "fetch": fetch,
    "send": send,
    "send in parts": lambda rooms, bucket, path: send(rooms, bucket, path, SMALLEST_PART + 1),
}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("deed", DEEDS)
async def test_a_redirect_is_refused_and_nothing_is_sent_there(
    faulty: FaultyStore, elsewhere: FaultyStore, faulty_rooms: Rooms, tmp_path: Path, deed: str, status: int
) -> None:
    bucket = await faulty_rooms.bucket()
    there = {"Location": f"{elsewhere.server.endpoint_url}/bucket/x"}
    faulty.on("/", fault=Fault("answer", status=status, headers=there), times=99)
    with pytest.raises(OriginUnavailable) as caught:
        await DEEDS[deed](faulty_rooms, bucket, tmp_path)
    assert "redirect" in caught.value.detail
    assert elsewhere.journal == []
    assert any(TOKEN in asked.headers.get("x-amz-security-token", "") for asked in faulty.journal)


@pytest.mark.parametrize("deed", ["find", "get", "put", "list"])
async def test_a_redirect_without_a_target_names_the_region_and_is_not_asked_about(
    faulty: FaultyStore, faulty_rooms: Rooms, tmp_path: Path, deed: str
) -> None:
    bucket = await faulty_rooms.bucket()
    asked = len(faulty.journal)
    body = b"<Error><Code>PermanentRedirect</Code><Endpoint>elsewhere.example</Endpoint></Error>"
    fault = Fault("answer", status=301, headers={"x-amz-bucket-region": "eu-north-1"}, body=body)
    faulty.on("/", fault=fault, times=99)
    with pytest.raises(OriginUnavailable) as caught:
        await DEEDS[deed](faulty_rooms, bucket, tmp_path)
    assert "eu-north-1" in caught.value.hint
    assert len(faulty.journal) == asked + 1
