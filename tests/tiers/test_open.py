"""A tier is opened for what it is: new, known, read-only, of a newer layout, in the way, or not there."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from cachemgr.aio.iopool import IoPool
from cachemgr.domain.errors import TierUnavailable, Usage
from cachemgr.moving.plane import DataPlane
from cachemgr.tiers.directory import DirectoryTier
from tests.tiers import writing
from tests.tiers.conftest import Open
from tests.tiers.making import COMMIT, FILES, MAIN, contents, manifest, publish

READ_ONLY = [errno.EROFS, errno.EACCES, errno.EPERM]


def make_read_only(monkeypatch: pytest.MonkeyPatch, code: int = errno.EROFS) -> None:
    """Refuse every change of any file."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    for call in ("mkdir", "link", "rename", "replace", "unlink", "rmdir", "write", "utime", "ftruncate", "truncate"):
        monkeypatch.setattr(os, call, refuse)
    really = os.open

    def open_to_read(path: str, flags: int, *args: int, **options: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            refuse()
        return really(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", open_to_read)


async def test_a_new_tier_is_made_with_what_is_above_it(root: Path, pool: IoPool, plane: DataPlane) -> None:
    tier = await DirectoryTier.open("disk", root / "a/b", pool, plane, local=True)
    assert (tier.writable, tier.refusal, tier.name, tier.local) == (True, None, "disk", True)
    assert json.loads(tier.layout.version.read_text()) == {"layout": 1}
    assert tier.layout.hub == root / "a/b/huggingface-cache/hub"
    assert tier.device == os.stat(root).st_dev


async def test_the_hub_may_lie_elsewhere_on_the_file_system(
    tmp_path: Path, root: Path, pool: IoPool, plane: DataPlane
) -> None:
    tier = await DirectoryTier.open("disk", root, pool, plane, local=True, hub=tmp_path / "hf/hub")
    await publish(tier, manifest())
    (sealed,) = await tier.snapshots.scan()
    assert sealed.path == tmp_path / "hf/hub/models--acme--small/snapshots" / COMMIT
    note = json.loads((tier.layout.refs / f"{MAIN.key}.json").read_text())
    assert (root / note["path"]).samefile(sealed.path)
    await tier.snapshots.discard(manifest().id)
    assert not sealed.path.exists()


@pytest.mark.parametrize("code", READ_ONLY)
async def test_a_read_only_tier_is_read_in_place(
    tier: DirectoryTier, reopen: Open, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    await publish(tier, manifest())
    await tier.uses.touch(manifest().id)
    make_read_only(monkeypatch, code)
    found = await reopen()
    assert (found.writable, found.refusal) == (False, os.strerror(code))
    (sealed,) = await found.snapshots.scan()
    assert contents(sealed.path) == FILES
    assert (await found.refs.recall(MAIN)) is not None
    assert (await found.uses.all()).keys() == {manifest().id}
    await found.uses.touch(manifest().id)
    await found.sweep(writing.alone)
    assert await found.measure() == sum(map(len, FILES.values()))


@pytest.mark.parametrize("code", READ_ONLY)
async def test_a_read_only_directory_that_was_never_a_tier_is_an_empty_one(
    root: Path, reopen: Open, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    os.mkdir(root)
    make_read_only(monkeypatch, code)
    tier = await reopen()
    assert not tier.writable
    assert (await tier.snapshots.scan(), await tier.blobs.reclaimable(), await tier.measure()) == ([], [], 0)
    assert (await tier.refs.all(), await tier.pins.all(), await tier.uses.all()) == ([], frozenset(), {})
    assert await tier.snapshots.find(manifest().id) is None


async def test_nothing_is_written_to_a_newer_layout(tier: DirectoryTier, reopen: Open) -> None:
    await publish(tier, manifest())
    tier.layout.version.write_text('{"layout": 2}')
    newer = await reopen()
    assert not newer.writable
    assert "layout" in str(newer.refusal)
    assert len(await newer.snapshots.scan()) == 1
    before = contents(tier.root)
    for attempt in (
        newer.snapshots.publish(manifest(), MAIN),
        newer.snapshots.discard(manifest().id),
        newer.snapshots.unseal(manifest().id),
        newer.blobs.part("key", 1).__aenter__(),
        newer.blobs.purge(),
        newer.pins.add(manifest().id),
        newer.pins.remove(manifest().id),
        newer.refs.remember(MAIN, COMMIT, 1.0),
    ):
        with pytest.raises(TierUnavailable, match="read-only"):
            await attempt
    await newer.uses.touch(manifest().id)
    await newer.sweep(writing.alone)
    assert contents(tier.root) == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"layout": "1"}', "{}", '{"layout": null}'])
async def test_a_damaged_layout_is_read_only(tier: DirectoryTier, reopen: Open, text: str) -> None:
    tier.layout.version.write_text(text)
    assert not (await reopen()).writable


async def test_a_file_in_its_place_is_said(root: Path, reopen: Open) -> None:
    os.mknod(root)
    with pytest.raises(TierUnavailable, match=str(root)):
        await reopen()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOTCONN, errno.ESTALE, errno.ENOSPC])
async def test_a_broken_mount_is_said(root: Path, reopen: Open, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    os.mkdir(root)
    make_read_only(monkeypatch, code)
    with pytest.raises(TierUnavailable, match=os.strerror(code)):
        await reopen()


async def test_a_link_in_place_of_what_is_ours_is_refused(tier: DirectoryTier, reopen: Open, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    tier.layout.blobs.rename(outside)
    tier.layout.blobs.symlink_to(outside)
    with pytest.raises(TierUnavailable, match="a link or a file"):
        await reopen()


async def test_a_link_to_the_tier_itself_is_fine(root: Path, tmp_path: Path, pool: IoPool, plane: DataPlane) -> None:
    os.mkdir(root)
    (tmp_path / "link").symlink_to(root)
    tier = await DirectoryTier.open("disk", tmp_path / "link", pool, plane, local=True)
    await publish(tier, manifest())
    assert tier.root == root


async def test_a_full_tier_opens(tier: DirectoryTier, reopen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    await publish(tier, manifest())
    make_read_only(monkeypatch, errno.ENOSPC)
    full = await reopen()
    assert full.writable
    assert len(await full.snapshots.scan()) == 1


BAD_SEALS = {
    "empty": b"",
    "no json": b"\xff\xfe",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "nothing in it": b"{}",
    "another id": None,
}


@pytest.mark.parametrize("data", BAD_SEALS.values(), ids=BAD_SEALS.keys())
async def test_a_damaged_seal_is_left_out_and_mended_by_the_next_pull(tier: DirectoryTier, data: bytes | None) -> None:
    await publish(tier, manifest())
    await publish(tier, manifest(name="acme/other"))
    seal = tier.layout.seal(manifest().id)
    seal.write_bytes(tier.layout.seal(manifest(name="acme/other").id).read_bytes() if data is None else data)
    assert [each.manifest.name for each in await tier.snapshots.scan()] == ["acme/other"]
    assert await tier.snapshots.find(manifest().id) is None
    await publish(tier, manifest())
    assert len(await tier.snapshots.scan()) == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [("sealed_at", None), ("sealed_at", "x"), ("foreign", "x"), ("copies", [1]), ("version", 9), ("have", ["nope"])],
)
async def test_a_seal_with_a_wrong_member_counts_as_none(tier: DirectoryTier, key: str, value: object) -> None:
    await publish(tier, manifest())
    seal = tier.layout.seal(manifest().id)
    seal.write_text(json.dumps({**json.loads(seal.read_text()), key: value}))
    assert await tier.snapshots.scan() == []


async def test_what_is_no_seal_is_ignored(tier: DirectoryTier) -> None:
    await publish(tier, manifest())
    (tier.layout.manifests / "dir.json").mkdir()
    (tier.layout.manifests / "note.txt").write_text("x")
    (tier.layout.manifests / "link.json").symlink_to("/etc/passwd")
    os.mkfifo(tier.layout.manifests / "pipe.json")
    for name in (".json", ".hidden.json", "~x.json", "line\nbreak.json"):
        (tier.layout.manifests / name).write_text("{}")
    os.mknod(bytes(tier.layout.manifests) + b"/\xff.json")
    assert len(await tier.snapshots.scan()) == 1


@pytest.mark.parametrize("id", ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\0b", ".hidden", "x" * 300, "\ud800"])
async def test_ids_from_outside_name_nothing_outside(tier: DirectoryTier, id: str) -> None:
    for attempt in (
        tier.snapshots.find(id),
        tier.snapshots.discard(id),
        tier.snapshots.unseal(id),
        tier.pins.add(id),
        tier.pins.remove(id),
        tier.uses.touch(id),
    ):
        with pytest.raises(Usage):
            await attempt
