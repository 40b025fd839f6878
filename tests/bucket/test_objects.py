"""Small objects: what was written is there, and what is not there is said to be missing."""

from __future__ import annotations

import hashlib

import pytest

from cachemgr.bucket.bucket import Bucket
from cachemgr.bucket.faults import StoreRefused
from cachemgr.domain.errors import NotFound, OriginUnavailable
from tests.services.s3 import S3Server
from tests.services.s3_faults import Fault, FaultyStore
from tests.services.stores import Rooms

pytestmark = pytest.mark.integration

LOST = Fault("lose")
BUSY = Fault("answer", status=503, body=b"<Error><Code>SlowDown</Code></Error>")


async def test_what_was_put_is_got_found_and_listed(bucket: Bucket) -> None:
    await bucket.put("run/é +&/x.json", b"one")
    assert await bucket.get("run/é +&/x.json", 100) == b"one"
    found = await bucket.find("run/é +&/x.json")
    assert found is not None
    assert (found.size, found.md5) == (3, hashlib.md5(b"one").hexdigest())
    assert [x.key for x in await bucket.listed("run/")] == ["run/é +&/x.json"]


async def test_what_is_not_there_is_missing(bucket: Bucket) -> None:
    assert await bucket.find("nothing") is None
    assert await bucket.listed("nothing/") == []
    with pytest.raises(NotFound):
        await bucket.get("nothing", 100)


async def test_deleting_twice_is_no_error(bucket: Bucket) -> None:
    await bucket.put("x", b"1")
    await bucket.delete("x")
    await bucket.delete("x")
    assert await bucket.find("x") is None


async def test_an_object_larger_than_it_can_be_is_not_read(bucket: Bucket) -> None:
    await bucket.put("x", b"12345")
    with pytest.raises(StoreRefused):
        await bucket.get("x", 4)


async def test_creating_what_is_there_already_succeeds_only_with_the_same_bytes(
    bucket: Bucket, server: S3Server
) -> None:
    assert await bucket.create("x", b"one")
    assert await bucket.create("x", b"one")
    # rclone ignores the condition: whoever uses it must be right without it.
    assert await bucket.create("x", b"two") is (server.kind == "rclone")


@pytest.mark.parametrize("server", ["ministack"], indirect=True)
async def test_creating_is_done_when_only_its_answer_was_lost(faulty: FaultyStore, faulty_bucket: Bucket) -> None:
    faulty.on("PUT", "/x?", fault=Fault("drop"))
    assert await faulty_bucket.create("x", b"one")
    assert len(faulty.asked("PUT", "/x?")) > 1


@pytest.mark.parametrize("status", [400, 501])
async def test_a_store_without_conditions_is_written_to_without(
    faulty: FaultyStore, faulty_bucket: Bucket, status: int
) -> None:
    unknown = Fault("answer", status=status, body=b"<Error><Code>NotImplemented</Code></Error>")
    faulty.on("PUT", "/x?", fault=unknown)
    assert await faulty_bucket.create("x", b"one")
    faulty.on("PUT", "/x?", fault=unknown)
    assert not await faulty_bucket.create("x", b"two")
    assert await faulty_bucket.get("x", 100) == b"one"


def page(key: str, following: str | None) -> Fault:
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{following}</NextContinuationToken>"
    item = f"<Contents><Key>{key}</Key><Size>1</Size><ETag>x</ETag></Contents>"
    text = f"<ListBucketResult><Name>b</Name>{item}{more if following else ''}</ListBucketResult>"
    return Fault("answer", body=text.encode())


async def test_a_long_list_is_complete(faulty: FaultyStore, faulty_bucket: Bucket) -> None:
    for key, following in (("1", "to ken"), ("2", "token"), ("3", None)):
        faulty.on("GET", "list-type=2", fault=page(key, following))
    assert [found.key for found in await faulty_bucket.listed("")] == ["1", "2", "3"]
    assert "continuation-token=to+ken" in faulty.journal[-2].query.replace("%20", "+")
    faulty.on("GET", "list-type=2", fault=page("1", "token"))
    assert len(await faulty_bucket.listed("", limit=1)) == 1
    faulty.on("GET", "list-type=2", fault=page("1", "token"), times=99)
    with pytest.raises(StoreRefused, match="for ever"):
        await faulty_bucket.listed("")


@pytest.mark.parametrize("fault", [LOST, BUSY, Fault("drop")], ids=["lost", "503", "dropped"])
async def test_what_passes_is_asked_again(faulty: FaultyStore, faulty_bucket: Bucket, fault: Fault) -> None:
    for method in ("PUT", "HEAD", "GET"):
        faulty.on(method, "/x?", fault=fault)
    await faulty_bucket.put("x", b"one")
    assert await faulty_bucket.find("x") is not None
    assert await faulty_bucket.get("x", 100) == b"one"


async def test_what_does_not_pass_is_said_after_a_few_times(faulty: FaultyStore, faulty_bucket: Bucket) -> None:
    faulty.on("GET", "/x?", fault=BUSY, times=99)
    with pytest.raises(OriginUnavailable, match=r"503 \(SlowDown\)"):
        await faulty_bucket.get("x", 100)
    assert len(faulty.asked("GET", "/x?")) == 3


@pytest.mark.parametrize(
    "fault",
    [
        Fault("cut"),
        Fault("answer", body=b"<?xml version='1.0'?><Error><Code>InternalError</Code></Error>"),
    ],
    ids=["cut short", "an error with a 200"],
)
async def test_half_an_object_and_an_error_document_are_not_the_object(
    faulty: FaultyStore, faulty_bucket: Bucket, fault: Fault
) -> None:
    await faulty_bucket.put("x", b"one and two")
    faulty.on("GET", "/x?", fault=fault)
    assert await faulty_bucket.get("x", 1000) == b"one and two"


@pytest.mark.parametrize("body", [b"<html></html>", b"", b"not xml"])
async def test_another_document_is_not_an_empty_list(faulty: FaultyStore, faulty_bucket: Bucket, body: bytes) -> None:
    faulty.on("GET", "list-type=2", fault=Fault("answer", body=body), times=99)
    with pytest.raises(OriginUnavailable):
        await faulty_bucket.listed("x/")


async def test_a_bucket_that_does_not_exist_is_named(rooms: Rooms) -> None:
    bucket = await rooms.buckets.open("no-such-bucket")
    with pytest.raises(NotFound, match="s3://no-such-bucket: there is no such bucket"):
        await bucket.listed("x")
    with pytest.raises(NotFound, match="there is no such bucket"):
        await bucket.put("x", b"")
