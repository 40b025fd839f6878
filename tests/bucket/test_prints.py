"""Fingerprints: of the whole and of every part, in one pass, and parts that every store takes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemgr.aio.iopool import IoPool
from cachemgr.bucket.prints import LARGEST_PART, PARTS, SMALLEST_PART, part_size, take_prints
from cachemgr.domain.errors import Usage

MIB = 1 << 20


@pytest.fixture
def pool() -> Iterator[IoPool]:
    pool = IoPool(2, "test")
    yield pool
    pool.close()


@given(st.integers(0, LARGEST_PART * PARTS))
def test_parts_are_few_large_and_whole_mebibytes(size: int) -> None:
    part = part_size(size)
    assert SMALLEST_PART <= part <= LARGEST_PART
    assert part % MIB == 0
    assert -(-size // part) <= PARTS


def test_what_no_store_takes_is_refused() -> None:
    with pytest.raises(Usage):
        part_size(LARGEST_PART * PARTS + 1)


@pytest.mark.parametrize(
    "size", [0, 1, MIB, SMALLEST_PART, SMALLEST_PART + 1, 2 * SMALLEST_PART, 2 * SMALLEST_PART + 9]
)
async def test_every_part_has_its_digest(pool: IoPool, tmp_path: Path, size: int) -> None:
    data, path = os.urandom(size), tmp_path / "file"
    await pool.run(path.write_bytes, data)
    pieces = [data[n : n + SMALLEST_PART] for n in range(0, size, SMALLEST_PART)] or [b""]
    amz = await take_prints(pool, path, size, "amz")
    md5 = await take_prints(pool, path, size, "md5")
    assert amz.sha256 == md5.sha256 == hashlib.sha256(data).hexdigest()
    assert amz.parts == tuple(zlib.crc32(piece).to_bytes(4, "big") for piece in pieces)
    assert md5.parts == tuple(hashlib.md5(piece).digest() for piece in pieces)
    assert (await take_prints(pool, path, size, "none")).parts == (b"",) * len(pieces)
    assert [data[start : start + length] for start, length in amz.ranges] == pieces


async def test_a_file_of_another_size_says_so(pool: IoPool, tmp_path: Path) -> None:
    await pool.run((tmp_path / "file").write_bytes, b"12345")
    assert (await take_prints(pool, tmp_path / "file", 4, "none")).size == 5


async def test_a_cancelled_caller_has_the_threads_end_behind_it(pool: IoPool, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: nobody reads this to its end
    task = asyncio.create_task(take_prints(pool, path, 1 << 40, "none"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.wait_for(pool.run(lambda: 7), 5) == 7
