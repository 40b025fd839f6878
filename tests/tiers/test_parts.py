"""A partial file becomes a blob only if its bytes are right; otherwise it leaves nothing but what a resume can use."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from pathlib import Path

import pytest

from cachemgr.aio.iopool import IoPool
from cachemgr.domain.digest import Digest, Seen
from cachemgr.domain.errors import VerificationFailed
from cachemgr.domain.manifest import Entry
from cachemgr.moving.plane import DataPlane
from cachemgr.tiers.blobs import ResumeMismatch
from cachemgr.tiers.directory import DirectoryTier
from cachemgr.tiers.owner import Owner
from tests.tiers import writing
from tests.tiers.conftest import Open
from tests.tiers.making import filled, git_sha1, seen, sha256

DATA = b"0123456789" * 1000
ENTRY = Entry("model.safetensors", len(DATA), sha256(DATA), sha256(DATA).value)
KEY = sha256(DATA).value


def parts(tier: DirectoryTier) -> list[str]:
    return sorted(path.name for path in tier.layout.parts.iterdir())


async def test_right_bytes_become_a_read_only_blob(tier: DirectoryTier) -> None:
    async with filled(tier, DATA) as part:
        assert await part.publish(ENTRY, seen(DATA)) == sha256(DATA)
    blob = tier.blobs.path(sha256(DATA))
    assert (blob.read_bytes(), blob.stat().st_mode & 0o777, blob.stat().st_nlink) == (DATA, 0o444, 1)
    assert await tier.blobs.contains(sha256(DATA)) == len(DATA)
    assert parts(tier) == []


async def test_a_part_takes_its_full_size_at_once(tier: DirectoryTier) -> None:
    async with tier.blobs.part(KEY, len(DATA)) as part:
        assert part.target.path.stat().st_size == len(DATA)
        assert await tier.measure() == len(DATA)
    assert await tier.measure() == 0


WRONG = {"short": DATA[:-1], "long": DATA + b"x", "flipped": DATA[:-1] + b"?", "empty": b""}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG.keys())
async def test_wrong_bytes_go_to_quarantine_and_never_become_a_blob(tier: DirectoryTier, data: bytes) -> None:
    with pytest.raises(VerificationFailed) as caught:
        async with filled(tier, data, KEY) as part:
            await part.publish(ENTRY, seen(data))
    assert caught.value.fields == {"file": ENTRY.path, "expected": str(ENTRY.digest), "found": sha256(data).value}
    assert list(tier.layout.blobs.iterdir()) == []
    assert parts(tier) == []
    assert (tier.layout.quarantine / KEY).read_bytes() == data
    note = json.loads((tier.layout.quarantine / f"{KEY}.json").read_text())
    assert (note["file"], note["expected"]) == (ENTRY.path, str(ENTRY.digest))
    assert note["reason"]


async def test_failing_again_and_again_keeps_one_file_in_quarantine(tier: DirectoryTier) -> None:
    for bad in (b"1", b"2", b"3"):
        with pytest.raises(VerificationFailed):
            async with filled(tier, bad, KEY) as part:
                await part.publish(ENTRY, seen(bad))
    assert sorted(path.name for path in tier.layout.quarantine.iterdir()) == [KEY, f"{KEY}.json"]
    assert (tier.layout.quarantine / KEY).read_bytes() == b"3"
    assert await tier.blobs.purge() > 0
    assert await tier.measure() == 0


async def test_a_small_file_is_found_again_by_its_key(tier: DirectoryTier) -> None:
    entry = Entry("config.json", len(DATA), Digest("git-sha1", git_sha1(DATA)), git_sha1(DATA))
    assert await tier.blobs.known("where it comes from") is None
    async with filled(tier, DATA, "where it comes from") as part:
        assert await part.publish(entry, seen(DATA)) == sha256(DATA)
    assert await tier.blobs.known("where it comes from") == sha256(DATA)
    await tier.blobs.reclaim(sha256(DATA))
    assert await tier.blobs.known("where it comes from") is None


async def test_who_is_second_with_the_same_bytes_drops_its_own(tier: DirectoryTier, reopen: Open) -> None:
    other = await reopen()
    async with filled(tier, DATA) as first, filled(other, DATA) as second:
        assert first.target.path != second.target.path
        await second.publish(ENTRY, seen(DATA))
        inode = tier.blobs.path(sha256(DATA)).stat().st_ino
        await first.publish(ENTRY, seen(DATA))
    assert tier.blobs.path(sha256(DATA)).stat().st_ino == inode
    assert parts(tier) == []


async def test_a_blob_that_was_cut_short_gives_way_to_right_bytes(tier: DirectoryTier) -> None:
    tier.blobs.path(sha256(DATA)).write_bytes(DATA[:10])
    async with filled(tier, DATA) as part:
        await part.publish(ENTRY, seen(DATA))
    assert tier.blobs.path(sha256(DATA)).read_bytes() == DATA


async def test_whoever_leaves_early_leaves_what_was_proven_and_no_more(tier: DirectoryTier) -> None:
    async with filled(tier, DATA) as part:
        part.record(4000)
    assert part.kept_bytes == 4000
    assert await tier.measure() == 4000
    async with tier.blobs.part(KEY, len(DATA)) as again:
        assert again.resume is not None
        assert again.resume.size == 4000
        assert again.resume.path.read_bytes() == DATA[:4000]
        again.target.path.write_bytes(DATA)
        await again.publish(ENTRY, seen(DATA))
    assert parts(tier) == []


async def test_whoever_proved_nothing_leaves_nothing(tier: DirectoryTier) -> None:
    async with tier.blobs.part(KEY, len(DATA)) as part:
        pass
    assert (part.kept_bytes, parts(tier)) == (0, [])


async def test_another_writers_part_is_never_resumed_while_it_writes(tier: DirectoryTier, reopen: Open) -> None:
    other = await reopen()
    async with filled(tier, DATA), other.blobs.part(KEY, len(DATA)) as second:
        assert second.resume is None
        await other.sweep(writing.alone)
        assert len(parts(tier)) == 4


async def test_a_mismatch_after_a_resume_forgets_the_old_bytes(tier: DirectoryTier) -> None:
    async with filled(tier, b"?" * len(DATA), KEY):
        pass
    bad = b"?" * 100 + DATA[100:]
    with pytest.raises(ResumeMismatch):
        async with filled(tier, bad, KEY) as part:
            await part.publish(ENTRY, seen(bad))
    assert parts(tier) == []
    async with filled(tier, DATA, KEY) as fresh:
        assert fresh.resume is None
        await fresh.publish(ENTRY, seen(DATA))


class Forgetful:
    """A store that lost what it had taken: what is read back is not what was written."""

    async def digest(self, path: Path, **_: object) -> Seen:
        return seen(b"lost")


async def test_on_a_network_volume_it_is_read_again_before_it_counts(
    root: Path, pool: IoPool, plane: DataPlane
) -> None:
    honest = await DirectoryTier.open("volume", root, pool, plane, local=False)
    async with filled(honest, DATA) as part:
        await part.publish(ENTRY, seen(DATA))
    lossy = await DirectoryTier.open("volume", root, pool, Forgetful(), local=False)
    more = b"more"
    with pytest.raises(VerificationFailed, match="read back after writing"):
        async with filled(lossy, more) as part:
            await part.publish(Entry("more", len(more), sha256(more)), seen(more))
    assert await lossy.blobs.contains(sha256(more)) is None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
async def test_no_room_says_so_before_the_first_byte(
    tier: DirectoryTier, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, size: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "ftruncate", full)
    with pytest.raises(OSError, match=os.strerror(code)):
        async with tier.blobs.part(KEY, len(DATA)):
            pytest.fail("there is no room")
    assert parts(tier) == []


async def test_a_file_system_without_links_renames(tier: DirectoryTier, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    async with filled(tier, DATA) as part:
        await part.publish(ENTRY, seen(DATA))
    assert tier.blobs.path(sha256(DATA)).read_bytes() == DATA
    assert parts(tier) == []


async def test_a_caller_who_is_cancelled_leaves_nothing_open(tier: DirectoryTier) -> None:
    async def write() -> None:
        async with tier.blobs.part(KEY, len(DATA)):
            await asyncio.Event().wait()

    for _ in range(20):
        task = asyncio.create_task(write())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    assert parts(tier) == []
    async with filled(tier, DATA) as part:
        assert part.target.path.name == f"{KEY}.1"


async def test_a_killed_writer_is_resumed_at_what_it_had_proven(tier: DirectoryTier) -> None:
    writing.killed(tier.root, KEY, len(DATA), 7000)
    assert await tier.measure() == len(DATA)
    await tier.sweep(writing.alone)
    assert await tier.measure() == 7000, "what was not proven is given back"
    async with tier.blobs.part(KEY, len(DATA)) as part:
        assert part.resume is not None
        assert part.resume.size == 7000


async def test_a_killed_writer_that_had_proven_nothing_is_swept(tier: DirectoryTier) -> None:
    writing.killed(tier.root, KEY, len(DATA), 0)
    await tier.sweep(writing.alone)
    assert parts(tier) == []


async def test_a_leftover_of_another_host_is_kept_for_a_day(root: Path, pool: IoPool, plane: DataPlane) -> None:
    volume = await DirectoryTier.open("volume", root, pool, plane, local=False)
    there, note = volume.layout.parts / f"{KEY}.1", volume.layout.parts / f"{KEY}.1.at"
    there.write_bytes(DATA)
    note.write_text(f"{Owner('f' * 32, 1, 1, 1)} 5000\n")
    await volume.sweep(writing.alone)
    assert there.stat().st_size == len(DATA)
    async with volume.blobs.part(KEY, len(DATA)) as part:
        assert (part.resume, part.target.path.name) == (None, f"{KEY}.2")
    yesterday = there.stat().st_mtime - 86401
    os.utime(there, (yesterday, yesterday))
    await volume.sweep(writing.alone)
    assert parts(volume) == []


async def test_bytes_that_are_already_a_blob_are_never_cut(tier: DirectoryTier) -> None:
    """A writer died between giving its file the blob's name and taking the old name away."""
    writing.killed(tier.root, KEY, len(DATA), 10)
    part = tier.layout.parts / f"{KEY}.1"
    part.write_bytes(DATA)
    os.link(part, tier.blobs.path(sha256(DATA)))
    await tier.sweep(writing.alone)
    assert tier.blobs.path(sha256(DATA)).read_bytes() == DATA
    assert parts(tier) == []


async def test_purge_gives_back_all_that_nobody_needs(tier: DirectoryTier) -> None:
    writing.killed(tier.root, KEY, len(DATA), 7000)
    async with filled(tier, b"in use"):
        assert await tier.blobs.purge() == len(DATA)
        assert await tier.measure() == len(b"in use")


@pytest.mark.parametrize("key", ["../../etc/x", "a/b", ".at", "x.1", "x.1.at", "sha256:" + KEY, "ключ", "x~"])
async def test_keys_of_any_form_name_files(tier: DirectoryTier, key: str) -> None:
    async with filled(tier, DATA, key) as part:
        assert part.target.path.parent == tier.layout.parts
        assert await tier.blobs.measure() == len(DATA)
        await part.publish(ENTRY, seen(DATA))
    assert parts(tier) == []
