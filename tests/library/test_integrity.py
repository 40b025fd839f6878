"""Bytes that go bad after they were sealed are found, and nobody is given them again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cachemgr.domain.errors import NotFound, VerificationFailed
from tests.library.stage import FILES, Floor, Hub, Library, Silent, library
from tests.tiers.making import contents

LARGE = "model-1.safetensors"


def spoil(directory: str, path: str = LARGE) -> None:
    """Flip a byte of a sealed file behind everybody's back."""
    with (Path(directory) / path).open("r+b") as file:
        file.seek(100 if path == LARGE else 0)
        file.write(b"#")
        os.fsync(file.fileno())


async def verify(lib: Library, ref: str | None = None, tier: str | None = None) -> set[tuple[str, str]]:
    from cachemgr.domain.ref import Ref  # noqa: PLC0415 - one name for two kinds of callers

    done = await lib.integrity.verify(None if ref is None else Ref.parse(ref), tier, Silent())
    return {(bad.tier, bad.file) for bad in done.bad}


async def test_a_promotion_from_bad_bytes_fails_and_the_next_pull_brings_only_that_file(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    pulled = await lib.pull(ref)
    spoil(pulled.path)
    with pytest.raises(VerificationFailed):
        await lib.pull(ref, "disk")
    assert lib.on("disk") == lib.on("volume") == set()
    assert lib.sample("cachemgr_verification_failures_total", stage="promote") == 1
    with pytest.raises(NotFound):
        await lib.acquire(ref, wait=0)
    hub.http.bytes_sent.clear()
    promoted = await lib.pull(ref, "disk")
    assert set(hub.fetched()) == {LARGE}
    assert contents(Path(promoted.path)) == contents(Path(pulled.path)) == FILES


async def test_bad_bytes_on_a_read_only_volume_are_not_answered_with(tmp_path: Path, hub: Hub) -> None:
    ref = hub.add("acme/a")
    async with library(tmp_path, hub, {"volume": Floor()}) as before:
        spoil((await before.pull(ref)).path)
    async with library(tmp_path, hub, {"disk": Floor(), "volume": Floor(writable=False)}) as lib:
        with pytest.raises(VerificationFailed):
            await lib.pull(ref, "disk")
        with pytest.raises(NotFound):
            await lib.acquire(ref, wait=0)
        answer = await lib.acquire(ref)
        assert (answer.tier, contents(Path(answer.path))) == ("disk", FILES)


async def test_every_snapshot_with_the_bad_bytes_is_unsealed_also_those_of_another_worker(
    tmp_path: Path, hub: Hub
) -> None:
    a, b = hub.add("acme/a"), hub.add("acme/b", {LARGE: FILES[LARGE], "own": b"own"})
    async with library(tmp_path, hub) as lib, library(tmp_path, hub, {"volume": Floor()}) as other:
        pulled = await lib.pull(a)
        await other.pull(b)
        spoil(pulled.path)
        with pytest.raises(VerificationFailed):
            await lib.pull(a, "disk")
        assert lib.on("volume") == set()
        assert contents(Path((await other.pull(b)).path)) == {LARGE: FILES[LARGE], "own": b"own"}


async def test_a_source_that_lost_a_file_is_completed_again(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    pulled = await lib.pull(ref)
    (Path(pulled.path) / LARGE).unlink()
    (lib["volume"].tier.root / ".cachemgr/blobs" / f"sha256-{_hex(LARGE)}").unlink()
    promoted = await lib.pull(ref, "disk")
    assert contents(Path(promoted.path)) == FILES


async def test_verify_finds_flipped_and_missing_files_on_each_tier(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    on_volume = await lib.pull(ref)
    on_disk = await lib.pull(ref, "disk")
    assert await verify(lib) == set()
    spoil(on_volume.path)
    spoil(on_disk.path, "config.json")
    (Path(on_disk.path) / "tokenizer/vocab.txt").unlink()
    (Path(on_disk.path) / "tokenizer/merges.txt").unlink()
    lib.shelves[0].sealed()  # what is in memory does not matter
    assert await verify(lib, tier="volume") == {("volume", LARGE)}
    assert ("disk", "config.json") not in await verify(lib, tier="volume")


async def test_verify_reports_a_bad_file_and_repairs_by_the_next_pull(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    on_disk = await lib.pull(ref, "disk")
    spoil(on_disk.path)
    spoil(on_disk.path, "config.json")
    assert await verify(lib, str(ref)) == {("disk", LARGE), ("disk", "config.json")}
    assert lib.sample("cachemgr_verification_failures_total", stage="verify") == 2
    assert (lib.on("disk"), lib.on("volume")) == (set(), {"a"})
    assert (await lib.acquire(ref, wait=0)).tier == "volume"
    hub.http.bytes_sent.clear()
    assert contents(Path((await lib.pull(ref, "disk")).path)) == FILES
    assert hub.fetched() == {}
    assert await verify(lib) == set()


async def test_verify_of_what_is_not_here_is_not_found(lib: Library, hub: Hub) -> None:
    with pytest.raises(NotFound):
        await verify(lib, str(hub.add("acme/a")))


async def test_what_leaves_while_it_is_verified_is_not_bad(lib: Library, hub: Hub) -> None:
    ref = hub.add("acme/a")
    await lib.pull(ref, "disk")
    checks = await lib.integrity._checks(None, "disk")
    await lib.models.evict("disk", ref, None, dry_run=False)
    found = [await lib.integrity._fault(check, Silent()) for check in checks]
    assert set(found) == {"the file is gone"}
    assert not any([await lib.integrity._condemned(check, "the file is gone", set()) for check in checks])
    assert (await lib.pull(ref, "disk")).fetched_bytes == 0


def _hex(path: str) -> str:
    import hashlib  # noqa: PLC0415 - used once

    return hashlib.sha256(FILES[path]).hexdigest()
