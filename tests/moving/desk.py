"""What most tests of the data plane need: bytes, targets, remotes, and what a movement should have seen."""

from __future__ import annotations

import functools
import hashlib
import random
from pathlib import Path

from cachemgr.domain.digest import Seen
from cachemgr.moving.plane import DataPlane
from cachemgr.moving.remote import Remote, Request
from cachemgr.moving.target import Target
from tests.moving.origin import FaultyOrigin

MIB = 1 << 20


@functools.cache
def noise(size: int, seed: int = 0) -> bytes:
    """The same `size` bytes each time, none like its neighbour."""
    return random.Random(seed).randbytes(size)


def seen(data: bytes, *, git_sha1: bool = True) -> Seen:
    """What these bytes should turn out to be."""
    git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() if git_sha1 else None
    return Seen(len(data), hashlib.sha256(data).hexdigest(), git)


def target(path: Path, size: int, *, local: bool = True) -> Target:
    """A target as a tier makes it: created exclusively, and as long as the file will be."""
    with path.open("xb") as file:
        file.truncate(size)
    return Target(path, local)


def remote(origin: FaultyOrigin, path: str, size: int, *, follow: bool = True) -> Remote:
    """A remote whose requests carry a credential."""
    url = origin.url + path
    return Remote(size, lambda: Request(url, {"Authorization": "Bearer secret"}), follow)


async def fetch(plane: DataPlane, origin: FaultyOrigin, data: bytes, into: Path, *, local: bool = True) -> Seen:
    """Fetch `data`, which is put at /f first, into a new file, and check progress and content."""
    origin.files["/f"] = data
    moved: list[int] = []
    result = await plane.fetch(
        remote(origin, "/f", len(data)), [target(into, len(data), local=local)], git_sha1=True, progress=moved.append
    )
    assert sum(moved) == len(data)
    assert holds(into, data)
    return result


def holds(path: Path, data: bytes) -> bool:
    """True if the file has exactly these bytes."""
    return path.read_bytes() == data
