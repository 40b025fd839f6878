"""Copies and digests of files that are here: right, in one pass, and honest about sizes and faults."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachemgr.moving.plane import DataPlane
from cachemgr.moving.sinks import open_sinks
from cachemgr.moving.target import Target
from tests.moving.desk import MIB, holds, noise, seen, target

SIZES = [0, 1, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1, 4 * MIB - 1, 4 * MIB + 1, 20 * MIB + 1]


def file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("size", SIZES)
async def test_a_copy_is_whole_and_hashed(plane: DataPlane, tmp_path: Path, size: int) -> None:
    data = noise(size)
    source, moved = file(tmp_path / "source", data), list[int]()
    both = [target(tmp_path / "a", size), target(tmp_path / "b", size, local=False)]
    for targets in (both[:1], both):
        moved.clear()
        found = await plane.copy(source, targets, size=size, git_sha1=True, progress=moved.append)
        assert found == seen(data)
        assert all(holds(one.path, data) for one in targets)
        assert sum(moved) == size


@pytest.mark.parametrize("size", SIZES)
async def test_a_digest_reads_everything(plane: DataPlane, tmp_path: Path, size: int) -> None:
    source, moved = file(tmp_path / "source", noise(size)), list[int]()
    assert await plane.digest(source, size=size, git_sha1=True, progress=moved.append) == seen(noise(size))
    assert sum(moved) == size


@pytest.mark.parametrize("size", [1000, 20 * MIB])
@pytest.mark.parametrize("wrong", [-1, 1, 5000])
async def test_another_size_is_seen(plane: DataPlane, tmp_path: Path, size: int, wrong: int) -> None:
    source = file(tmp_path / "source", noise(size + wrong) if size + wrong > 0 else b"")
    found = await plane.digest(source, size=size, git_sha1=False, progress=lambda _: None)
    assert found.size == size + wrong
    into = target(tmp_path / "f", size)
    found = await plane.copy(source, [into], size=size, git_sha1=False, progress=lambda _: None)
    assert found.size == size + wrong


async def test_what_is_no_file_is_not_waited_for(plane: DataPlane, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, fault in (
        (tmp_path / "pipe", "not a regular"),
        (tmp_path, "not a regular"),
        (tmp_path / "no", "No such file"),
    ):
        with pytest.raises(OSError, match=fault):
            await plane.digest(path, size=1, git_sha1=False, progress=lambda _: None)


async def test_a_link_to_a_file_is_read(plane: DataPlane, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(file(tmp_path / "source", noise(100)))
    assert await plane.digest(tmp_path / "link", size=100, git_sha1=True, progress=lambda _: None) == seen(noise(100))


async def test_a_missing_target_is_an_error_and_leaves_nothing_open(plane: DataPlane, tmp_path: Path) -> None:
    source = file(tmp_path / "source", noise(2 * MIB))
    before = len(os.listdir("/proc/self/fd"))
    targets = [target(tmp_path / "a", 2 * MIB), Target(tmp_path / "no" / "such", True)]
    with pytest.raises(FileNotFoundError):
        await plane.copy(source, targets, size=2 * MIB, git_sha1=False, progress=lambda _: None)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def memory_file_system(tmp_path: Path) -> Iterator[Path]:
    path = Path("/dev/shm") / f"cachemgr-test-{os.getpid()}"
    path.mkdir()
    yield path
    for left in path.iterdir():
        left.unlink()
    path.rmdir()


async def test_memory_file_systems_are_targets_too(plane: DataPlane, tmp_path: Path, memory_file_system: Path) -> None:
    data = noise(5 * MIB + 3)
    into = target(memory_file_system / "f", len(data))
    source = file(tmp_path / "source", data)
    assert await plane.copy(source, [into], size=len(data), git_sha1=True, progress=lambda _: None) == seen(data)
    assert holds(into.path, data)


def test_where_direct_writes_are_refused_the_page_cache_takes_them(tmp_path: Path) -> None:
    # An odd address is what any file system refuses; some refuse every direct write.
    data = noise(8 * MIB + 5)
    crooked = memoryview(b"?" + data)[1:]
    into = target(tmp_path / "f", len(data))
    with open_sinks([into], len(data)) as sinks:
        sinks.spill(crooked, 0).grown(len(data))
        sinks.finish()
    assert holds(into.path, data)


def test_a_target_that_somebody_else_cuts_is_an_error(tmp_path: Path) -> None:
    into = target(tmp_path / "f", 2 * MIB)
    with open_sinks([into], 2 * MIB) as sinks:
        os.truncate(into.path, 5)
        with pytest.raises(OSError, match="somebody else"):
            sinks.finish()
