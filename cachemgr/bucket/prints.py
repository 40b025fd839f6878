"""A file's fingerprints, taken in one pass before its first byte is sent: its sha256, and a digest of each part."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path

from cachemgr.aio.iopool import IoPool
from cachemgr.bucket.checks import Check
from cachemgr.domain.errors import Usage
from cachemgr.moving.reading import open_source, read_full

SMALLEST_PART = 16 << 20
LARGEST_PART = 480 << 20
PARTS = 9000

_STEP = 1 << 20
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Prints:
    """What a file of `size` bytes was when it was hashed; `parts` are the digests of its parts (CRC-32 or MD5)."""

    size: int
    sha256: str
    part_bytes: int
    check: Check
    parts: tuple[bytes, ...]

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """`(offset, length)` of every part; one, possibly empty, for a file that is sent whole."""
        starts = range(0, self.size, self.part_bytes) if self.size else (0,)
        return [(start, min(self.part_bytes, self.size - start)) for start in starts]


def part_size(size: int) -> int:
    """How large the parts of a file are: few enough for every store, small enough for every store.

    Raises Usage for a file that no store takes.
    """
    if size > LARGEST_PART * PARTS:
        raise Usage(f"a file of {size} bytes is larger than S3 takes", hint="save it in several files")
    wanted = -(-size // PARTS)
    return min(max(-(-wanted // _MIB) * _MIB, SMALLEST_PART), LARGEST_PART)


async def take_prints(pool: IoPool, path: Path, size: int, check: Check) -> Prints:
    """Read and hash the file at `path`; if it does not have `size` bytes, what is returned says so.

    A cancelled caller has the thread's end behind it. Raises OSError, Usage.
    """
    stop = threading.Event()
    task = asyncio.ensure_future(pool.run(_read, path, part_size(size), check, stop))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([task])
        raise


def _read(path: Path, part_bytes: int, check: Check, stop: threading.Event) -> Prints:
    whole, size, parts = hashlib.sha256(), 0, list[bytes]()
    view = memoryview(bytearray(_STEP))
    with open_source(path) as fd:
        part = _Part(check)
        while not stop.is_set() and (count := read_full(fd, view, size)):
            # A step never spans two parts: their size is a multiple of it.
            whole.update(view[:count])
            part.update(view[:count])
            size += count
            if size % part_bytes == 0:
                parts.append(part.digest())
                part = _Part(check)
    if size % part_bytes or not parts:
        parts.append(part.digest())
    return Prints(size, whole.hexdigest(), part_bytes, check, tuple(parts))


class _Part:
    """The digest of one part. The sha256 of each would cost as much again as the whole file's; a CRC-32 is free."""

    def __init__(self, check: Check) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False) if check == "md5" else None
        self._crc = 0 if check == "amz" else None

    def update(self, data: memoryview) -> None:
        if self._md5 is not None:
            self._md5.update(data)
        if self._crc is not None:
            self._crc = zlib.crc32(data, self._crc)

    def digest(self) -> bytes:
        if self._md5 is not None:
            return self._md5.digest()
        return b"" if self._crc is None else self._crc.to_bytes(4, "big")
