"""A disk that is too small for a restore: said with numbers, before the first byte where that can be known."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cachemgr.domain.errors import NoSpace
from tests.checkpoints.runs import Run, same, write_checkpoint
from tests.services.disk import sized_disk
from tests.services.s3_faults import FaultyStore

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("server", ["ministack"], indirect=True)]

MIB = 1 << 20


async def test_too_small_from_the_start(faulty: FaultyStore, faulty_run: Run, tmp_path: Path) -> None:
    published = await faulty_run.push(write_checkpoint(tmp_path / "checkpoint-1", 30 * MIB))
    with sized_disk(24 * MIB) as disk:
        before = os.listdir(disk)
        with pytest.raises(NoSpace) as caught:
            await faulty_run.pull(disk)
        assert os.listdir(disk) == before
    fields = caught.value.fields
    assert fields["needed_bytes"] == published.bytes
    assert 0 < int(str(fields["free_bytes"])) < published.bytes
    assert faulty.asked("GET", "model.safetensors") == []


async def test_full_midway(run: Run, tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "checkpoint-1", 17 * MIB)
    await run.push(source)
    with sized_disk(40 * MIB) as disk:
        # Bytes are free, so it begins; then there is no room for another file.
        taken = take_all_names(disk / "taken")
        for path in taken[:4]:
            path.unlink()
        with pytest.raises(NoSpace, match="No space left on device") as caught:
            await run.pull(disk / "taken")
        assert caught.value.fields["needed_bytes"]
        assert sorted((disk / "taken").iterdir()) == sorted(taken[4:])
        for path in taken[4:]:
            path.unlink()
        await run.pull(disk / "taken")
        assert same(source, disk / "taken" / "checkpoint-1")


def take_all_names(directory: Path) -> list[Path]:
    """Make empty files until the file system has no room for another one."""
    directory.mkdir()
    taken: list[Path] = []
    try:
        while True:
            path = directory / f"{len(taken)}"
            path.touch()
            taken.append(path)
    except OSError:
        return taken
