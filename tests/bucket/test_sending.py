"""Files on their way to a bucket: they arrive as they were hashed, or not at all, and leave nothing half done."""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from cachemgr.bucket.bucket import Bucket
from cachemgr.bucket.prints import SMALLEST_PART, Prints, take_prints
from cachemgr.domain.errors import OriginUnavailable, VerificationFailed
from cachemgr.moving.target import Target
from tests.services.s3 import S3Server
from tests.services.s3_faults import Fault, FaultyStore
from tests.services.stores import Rooms, uploads

pytestmark = pytest.mark.integration

IN_PARTS = SMALLEST_PART + 77
SIZES = [0, 1, SMALLEST_PART, SMALLEST_PART + 1, 2 * SMALLEST_PART + 77]
KEY = "run/sub dir/weights é.bin"
BROKEN = Fault("answer", status=500, body=b"<Error><Code>InternalError</Code></Error>")


def written(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    return path


async def printed(rooms: Rooms, bucket: Bucket, path: Path) -> Prints:
    size = await rooms.pool.run(os.path.getsize, path)
    return await take_prints(rooms.pool, path, size, await bucket.learn_check("probe", b"probe"))


async def fetched(rooms: Rooms, bucket: Bucket, key: str, path: Path, size: int) -> bytes:
    await rooms.pool.run(path.touch)
    remote = await bucket.remote(key, size)
    await rooms.plane.fetch(remote, [Target(path, local=True)], git_sha1=False, progress=lambda _: None)
    return await rooms.pool.run(path.read_bytes)


async def test_each_server_verifies_what_we_believe_that_it_does(bucket: Bucket, server: S3Server) -> None:
    assert await bucket.learn_check("probe", b"x") == {"ministack": "amz", "rclone": "md5"}[server.kind]


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_arrives_as_it_is(rooms: Rooms, bucket: Bucket, tmp_path: Path, size: int) -> None:
    path, progress = written(tmp_path / "file", size), list[int]()
    prints = await printed(rooms, bucket, path)
    etag = await bucket.send(path, prints, KEY, progress.append)
    stored = await bucket.find(KEY)
    assert stored is not None
    assert (stored.size, stored.etag, sum(progress)) == (size, etag, size)
    assert stored.sha256 in (None, prints.sha256)
    assert await fetched(rooms, bucket, KEY, tmp_path / "back", size) == path.read_bytes()
    assert await uploads(bucket) == 0


@pytest.mark.parametrize("size", SIZES)
async def test_a_copy_is_like_its_source(rooms: Rooms, bucket: Bucket, tmp_path: Path, size: int) -> None:
    path = written(tmp_path / "file", size)
    await bucket.send(path, await printed(rooms, bucket, path), KEY, lambda _: None)
    source = await bucket.find(KEY)
    assert source is not None
    copied = await bucket.copy(source, "run/copy~2/x")
    assert (copied.key, copied.size) == ("run/copy~2/x", size)
    assert await fetched(rooms, bucket, "run/copy~2/x", tmp_path / "back", size) == path.read_bytes()


@pytest.mark.parametrize("size", [3, IN_PARTS])
async def test_an_object_that_is_not_what_it_was_is_not_copied(
    rooms: Rooms, bucket: Bucket, tmp_path: Path, size: int
) -> None:
    path = written(tmp_path / "file", size)
    await bucket.send(path, await printed(rooms, bucket, path), KEY, lambda _: None)
    source = await bucket.find(KEY)
    assert source is not None
    other = written(tmp_path / "other", size)
    await bucket.send(other, await printed(rooms, bucket, other), KEY, lambda _: None)
    with pytest.raises(OriginUnavailable):
        await bucket.copy(source, "run/copy")
    await bucket.delete(KEY)
    with pytest.raises((OriginUnavailable, LookupError, Exception)):
        await bucket.copy(source, "run/copy")


@pytest.mark.parametrize("size", [5, IN_PARTS])
async def test_other_bytes_than_were_hashed_are_refused_by_the_store(
    rooms: Rooms, bucket: Bucket, tmp_path: Path, size: int
) -> None:
    path = written(tmp_path / "file", size)
    prints = await printed(rooms, bucket, path)
    with path.open("r+b") as file:
        file.seek(size - 1)
        file.write(b"?")
    with pytest.raises(VerificationFailed):
        await bucket.send(path, prints, KEY, lambda _: None)
    assert await bucket.find(KEY) is None
    assert await uploads(bucket) == 0


@pytest.mark.parametrize("size", [5, IN_PARTS])
@pytest.mark.parametrize("fault", [Fault("flip"), Fault("lose"), Fault("drop"), BROKEN], ids=lambda fault: fault.kind)
async def test_a_part_that_went_wrong_is_sent_again(
    faulty: FaultyStore, faulty_rooms: Rooms, faulty_bucket: Bucket, tmp_path: Path, size: int, fault: Fault
) -> None:
    path, progress = written(tmp_path / "file", size), list[int]()
    prints = await printed(faulty_rooms, faulty_bucket, path)
    faulty.on("PUT", "weights", fault=fault)
    await faulty_bucket.send(path, prints, KEY, progress.append)
    assert await fetched(faulty_rooms, faulty_bucket, KEY, tmp_path / "back", size) == path.read_bytes()
    assert sum(progress) == size
    assert len(faulty.asked("PUT", "weights")) > len(prints.parts)
    assert await uploads(faulty_bucket) == 0


@pytest.mark.parametrize("words", [("PUT", "partNumber=2"), ("POST", "uploads"), ("POST", "uploadId")])
async def test_a_store_that_stays_broken_is_said_and_nothing_is_left(
    faulty: FaultyStore, faulty_rooms: Rooms, faulty_bucket: Bucket, tmp_path: Path, words: tuple[str, ...]
) -> None:
    path = written(tmp_path / "file", IN_PARTS)
    prints = await printed(faulty_rooms, faulty_bucket, path)
    faulty.on(*words, fault=BROKEN, times=99)
    with pytest.raises(OriginUnavailable):
        await faulty_bucket.send(path, prints, KEY, lambda _: None)
    assert await uploads(faulty_bucket) == 0


@pytest.mark.parametrize("words", [("POST", "?uploads"), ("POST", "uploadId")], ids=["create", "complete"])
async def test_a_lost_answer_neither_loses_nor_leaks_an_upload(
    faulty: FaultyStore, faulty_rooms: Rooms, faulty_bucket: Bucket, tmp_path: Path, words: tuple[str, ...]
) -> None:
    path = written(tmp_path / "file", IN_PARTS)
    prints = await printed(faulty_rooms, faulty_bucket, path)
    faulty.on(*words, fault=Fault("drop"))
    await faulty_bucket.send(path, prints, KEY, lambda _: None)
    assert await fetched(faulty_rooms, faulty_bucket, KEY, tmp_path / "back", IN_PARTS) == path.read_bytes()
    assert await uploads(faulty_bucket) == 0


async def test_a_completion_that_nobody_confirms_is_looked_at(
    faulty: FaultyStore, faulty_rooms: Rooms, faulty_bucket: Bucket, tmp_path: Path
) -> None:
    path = written(tmp_path / "file", IN_PARTS)
    prints = await printed(faulty_rooms, faulty_bucket, path)
    faulty.on("POST", "uploadId", fault=Fault("drop"))
    faulty.on("POST", "uploadId", fault=Fault("lose"), times=99)
    await faulty_bucket.send(path, prints, KEY, lambda _: None)
    assert await fetched(faulty_rooms, faulty_bucket, KEY, tmp_path / "back", IN_PARTS) == path.read_bytes()


async def test_an_older_object_of_the_same_size_is_not_taken_for_the_completed_one(
    faulty: FaultyStore, faulty_rooms: Rooms, faulty_bucket: Bucket, tmp_path: Path
) -> None:
    older, path = written(tmp_path / "older", IN_PARTS), written(tmp_path / "file", IN_PARTS)
    await faulty_bucket.send(older, await printed(faulty_rooms, faulty_bucket, older), KEY, lambda _: None)
    prints = await printed(faulty_rooms, faulty_bucket, path)
    faulty.on("POST", "uploadId", fault=BROKEN, times=99)
    with pytest.raises(OriginUnavailable):
        await faulty_bucket.send(path, prints, KEY, lambda _: None)


@pytest.mark.parametrize("words", [("PUT", "weights"), ("POST", "uploadId")], ids=["put or part", "complete"])
@pytest.mark.parametrize("size", [5, IN_PARTS])
async def test_an_error_with_a_200_is_an_error(
    faulty: FaultyStore, faulty_rooms: Rooms, faulty_bucket: Bucket, tmp_path: Path, size: int, words: tuple[str, ...]
) -> None:
    path = written(tmp_path / "file", size)
    prints = await printed(faulty_rooms, faulty_bucket, path)
    faulty.on(*words, fault=Fault("answer", body=b"<Error><Code>InternalError</Code></Error>"))
    await faulty_bucket.send(path, prints, KEY, lambda _: None)
    assert await fetched(faulty_rooms, faulty_bucket, KEY, tmp_path / "back", size) == path.read_bytes()


@pytest.mark.parametrize("where", ["partNumber=2", "uploadId", "uploads"], ids=["part", "complete", "create"])
async def test_a_cancelled_upload_leaves_nothing(
    faulty: FaultyStore, faulty_rooms: Rooms, faulty_bucket: Bucket, tmp_path: Path, where: str
) -> None:
    path, gate = written(tmp_path / "file", IN_PARTS), threading.Event()
    prints = await printed(faulty_rooms, faulty_bucket, path)
    method = "PUT" if where.startswith("part") else "POST"
    faulty.on(method, where, fault=Fault("drop", gate=gate))
    sending = asyncio.create_task(faulty_bucket.send(path, prints, KEY, lambda _: None))
    await faulty_rooms.pool.run(faulty.reached.wait, 30)
    sending.cancel()
    asyncio.get_running_loop().call_later(0.2, gate.set)
    with pytest.raises(asyncio.CancelledError):
        await sending
    # A request that was on its way arrives when it likes: of one for a new upload nobody knows whether it did.
    if where != "uploads":
        assert await uploads(faulty_bucket) == 0


async def test_a_store_that_gives_no_etag_is_refused(
    faulty: FaultyStore, faulty_rooms: Rooms, faulty_bucket: Bucket, tmp_path: Path
) -> None:
    path = written(tmp_path / "file", 5)
    faulty.on("PUT", "weights", fault=Fault("answer"))
    prints = replace(await printed(faulty_rooms, faulty_bucket, path), check="none")
    with pytest.raises(OriginUnavailable, match="without an ETag"):
        await faulty_bucket.send(path, prints, KEY, lambda _: None)
