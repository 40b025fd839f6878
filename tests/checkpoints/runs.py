"""A training run in a bucket of its own, and what training writes."""

from __future__ import annotations

import filecmp
import os
from dataclasses import dataclass
from pathlib import Path

from cachemgr.bucket.bucket import Bucket
from cachemgr.checkpoints.answers import Listed, Published, Restored
from cachemgr.checkpoints.ledger import Ledger
from cachemgr.domain.checkpoint_keys import BucketPath
from tests.services.stores import Rooms, Told


@dataclass(frozen=True, slots=True)
class Run:
    """`s3://<bucket>/run` and the rooms that reach it."""

    rooms: Rooms
    bucket: Bucket

    @property
    def place(self) -> str:
        return self.bucket.where("run")

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.bucket, BucketPath.parse(self.place), self.rooms.pool)

    async def push(self, source: Path, name: str | None = None, told: Told | None = None) -> Published:
        published = await self.rooms.checkpoints.push(str(source), self.place, name)(told or Told())
        assert isinstance(published, Published)
        return published

    async def pull(self, directory: Path, name: str | None = None, told: Told | None = None) -> Restored:
        restored = await self.rooms.checkpoints.pull(self.place, str(directory), name)(told or Told())
        assert isinstance(restored, Restored)
        return restored

    async def listed(self) -> list[Listed]:
        return await self.rooms.checkpoints.listed(self.place)

    def sample(self, name: str, **labels: str) -> float:
        """What a metric stands at."""
        return self.rooms.metrics.registry.get_sample_value(name, labels) or 0.0

    def sent_bytes(self) -> float:
        return self.sample("cachemgr_moved_bytes_total", direction="disk_to_bucket")


def write_checkpoint(path: Path, large_bytes: int = (16 << 20) + 5) -> Path:
    """A directory as a trainer writes it, with a large file in it and a name that is not plain."""
    (path / "rng").mkdir(parents=True)
    (path / "model.safetensors").write_bytes(os.urandom(large_bytes))
    (path / "config.json").write_bytes(os.urandom(1000).hex().encode())
    (path / "rng" / "state 0 é.bin").write_bytes(os.urandom(12345))
    return path


def same(one: Path, other: Path) -> bool:
    """True if both directories have the same names, bytes and links."""
    names = sorted(path.relative_to(one) for path in one.rglob("*"))
    if names != sorted(path.relative_to(other) for path in other.rglob("*")):
        return False
    links = [name for name in names if (one / name).is_symlink()]
    if any(os.readlink(one / name) != os.readlink(other / name) for name in links):
        return False
    files = [str(name) for name in names if (one / name).is_file()]
    return filecmp.cmpfiles(one, other, files, shallow=False)[1:] == ([], [])
