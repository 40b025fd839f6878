"""A fetch brings exactly the origin's bytes, whatever their number and wherever they go."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cachemgr.domain.errors import NotFound
from cachemgr.moving.frontier import Frontier
from cachemgr.moving.patience import Patience
from cachemgr.moving.plane import DataPlane
from cachemgr.moving.sinks import open_sinks
from cachemgr.moving.target import Resume, Target
from tests.moving.desk import MIB, fetch, holds, noise, remote, seen, target
from tests.moving.origin import Exchange, FaultyOrigin, Hangup

SIZES = [
    0,
    1,
    511,
    4095,
    4096,
    4097,
    MIB - 1,
    MIB,
    MIB + 1,
    4 * MIB - 1,
    4 * MIB,
    4 * MIB + 1,
    16 * MIB,
    16 * MIB + 4097,
]
ALL = 1 << 40


@pytest.mark.parametrize("local", [True, False], ids=["local", "elsewhere"])
@pytest.mark.parametrize("size", SIZES)
async def test_every_size_arrives_whole(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path, size: int, local: bool
) -> None:
    data = noise(size)
    assert await fetch(plane, origin, data, tmp_path / "f", local=local) == seen(data)


@pytest.mark.parametrize(("size", "local"), [(64 * MIB, True), (64 * MIB + 1, True), (64 * MIB + 1, False)])
async def test_large_files_arrive_whole(origin: FaultyOrigin, tmp_path: Path, size: int, local: bool) -> None:
    data, plane = noise(size), DataPlane()
    assert await fetch(plane, origin, data, tmp_path / "f", local=local) == seen(data)
    plane.close()
    assert ("range" in origin.asked[0].headers) == (size > 64 * MIB)
    assert origin.bytes_sent["/f"] == size


@pytest.mark.parametrize("size", [3 * MIB + 3, 17 * MIB + 5])
async def test_one_pass_writes_two_targets(plane: DataPlane, origin: FaultyOrigin, tmp_path: Path, size: int) -> None:
    origin.files["/f"] = data = noise(size)
    both = [target(tmp_path / "volume", size, local=False), target(tmp_path / "disk", size)]
    found = await plane.fetch(remote(origin, "/f", size), both, git_sha1=False, progress=lambda _: None)
    assert found == seen(data, git_sha1=False)
    assert all(holds(one.path, data) for one in both)
    assert origin.bytes_sent["/f"] == size


@pytest.mark.parametrize("before", [0, 1, 5 * MIB, 20 * MIB])
async def test_the_target_ends_at_the_size_whatever_it_was(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path, before: int
) -> None:
    origin.files["/f"] = data = noise(5 * MIB + 77)
    found = target(tmp_path / "f", before)
    await plane.fetch(remote(origin, "/f", len(data)), [found], git_sha1=False, progress=lambda _: None)
    assert holds(found.path, data)


async def test_a_target_that_is_a_link_is_refused(plane: DataPlane, origin: FaultyOrigin, tmp_path: Path) -> None:
    origin.files["/f"] = data = noise(1000)
    aimed_at = target(tmp_path / "elsewhere", 0)
    (tmp_path / "f").symlink_to(aimed_at.path)
    with pytest.raises(OSError, match="symbolic"):
        await plane.fetch(
            remote(origin, "/f", len(data)), [Target(tmp_path / "f", True)], git_sha1=False, progress=lambda _: None
        )
    assert holds(aimed_at.path, b"")


async def test_files_share_the_connections_of_their_origin(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path
) -> None:
    data = noise(300_000)
    for n in range(20):
        origin.files[f"/{n}"] = data
    await asyncio.gather(
        *(
            plane.fetch(
                remote(origin, f"/{n}", len(data)),
                [target(tmp_path / str(n), len(data))],
                git_sha1=False,
                progress=lambda _: None,
            )
            for n in range(20)
        )
    )
    assert origin.connections <= 4
    assert all(holds(tmp_path / str(n), data) for n in range(20))


@pytest.mark.parametrize("size", [3 * MIB + 1, 20 * MIB + 9])
@pytest.mark.parametrize("have", [0, 100, 4096, 2 * MIB + 5, 10 * MIB, ALL, ALL + 50])
async def test_a_resumed_fetch_asks_only_for_the_rest(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path, size: int, have: int
) -> None:
    origin.files["/f"] = data = noise(size)
    upto = min(have, size) if have < ALL else size + have - ALL
    older = tmp_path / "older"
    older.write_bytes((data + bytes(100))[:upto] + b"not hashed yet")
    moved: list[int] = []
    found = await plane.fetch(
        remote(origin, "/f", size),
        [target(tmp_path / "f", size)],
        git_sha1=True,
        resume=Resume(older, upto),
        progress=moved.append,
    )
    assert found == seen(data)
    assert holds(tmp_path / "f", data)
    assert sum(moved) == size
    reused = size if upto >= size else upto - upto % 4096
    assert origin.bytes_sent["/f"] == size - reused


async def test_an_older_part_that_is_gone_or_shorter_is_fetched_instead(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path
) -> None:
    origin.files["/f"] = data = noise(20 * MIB)
    older = tmp_path / "older"
    for name, content in (("a", None), ("b", data[:5000])):
        if content is not None:
            older.write_bytes(content)
        found = await plane.fetch(
            remote(origin, "/f", len(data)),
            [target(tmp_path / name, len(data))],
            git_sha1=True,
            resume=Resume(older, 9 * MIB),
            progress=lambda _: None,
        )
        assert found == seen(data)


async def test_wrong_bytes_in_an_older_part_show_in_the_digest(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path
) -> None:
    origin.files["/f"] = data = noise(20 * MIB)
    older = tmp_path / "older"
    older.write_bytes(b"?" + data[1 : 10 * MIB])
    found = await plane.fetch(
        remote(origin, "/f", len(data)),
        [target(tmp_path / "f", len(data))],
        git_sha1=True,
        resume=Resume(older, 10 * MIB),
        progress=lambda _: None,
    )
    assert found == seen(b"?" + data[1:])


@pytest.mark.parametrize("size", [3 * MIB + 17, 40 * MIB])
async def test_a_fetch_that_fails_tells_how_far_it_came(origin: FaultyOrigin, tmp_path: Path, size: int) -> None:
    plane = DataPlane(1, one_request_bytes=4 * MIB, patience=Patience(backoff_seconds=0.01))
    origin.files["/f"] = data = noise(size)
    only = size * 3 // 4

    def serve_the_beginning(exchange: Exchange) -> None:
        start, end = exchange.asked.span(size)
        if end <= only:
            return exchange.serve()
        if start < only:
            exchange.good_head()
            exchange.sock.sendall(data[start:only])
            raise Hangup
        return exchange.answer(404)

    origin.fail("/f", *([serve_the_beginning] * 50))
    marks: list[int] = []
    first = target(tmp_path / "first", size)
    with pytest.raises(NotFound):
        await plane.fetch(
            remote(origin, "/f", size), [first], git_sha1=False, frontier=marks.append, progress=lambda _: None
        )
    assert len(marks) == 1
    assert size // 2 < marks[0] <= only
    assert first.path.read_bytes()[: marks[0]] == data[: marks[0]]
    origin.faults.clear()
    origin.bytes_sent.clear()
    found = await plane.fetch(
        remote(origin, "/f", size),
        [target(tmp_path / "second", size)],
        git_sha1=True,
        resume=Resume(first.path, marks[0]),
        progress=lambda _: None,
    )
    assert found == seen(data)
    assert origin.bytes_sent["/f"] == size - marks[0]
    plane.close()


def test_the_frontier_is_told_by_bytes_and_where_they_come_slowly_by_the_clock(tmp_path: Path) -> None:
    marks: list[int] = []
    with open_sinks([target(tmp_path / "f", MIB)], MIB) as sinks:
        often, seldom = Frontier(sinks, marks.append, seconds=0), Frontier(sinks, marks.append)
        for at in (0, 1000, 1000, 2000):
            often.advance(at)
            seldom.advance(at)
        assert marks == [1000, 2000]
        seldom.record()
        assert marks == [1000, 2000, 2000]
        for at in (255 * MIB, 256 * MIB, 257 * MIB, 600 * MIB):
            seldom.advance(at)
    assert marks == [1000, 2000, 2000, 257 * MIB, 600 * MIB]
