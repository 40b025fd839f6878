"""A writer that is killed in the middle of its work; run as a program with a directory, a key and two sizes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cachemgr.aio.iopool import IoPool
from cachemgr.moving.plane import DataPlane
from cachemgr.tiers.directory import DirectoryTier


def killed(root: Path, key: str, size: int, proven: int) -> None:
    """Let a process begin a part of `size` bytes, prove some of them, and die by SIGKILL."""
    command = [sys.executable, "-m", __name__, str(root), key, str(size), str(proven)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL


@asynccontextmanager
async def alone(id: str) -> AsyncIterator[bool]:
    """What a tier's holds say when nobody else is there."""
    yield True


async def write(root: Path, key: str, size: int, proven: int) -> None:
    tier = await DirectoryTier.open("disk", root, IoPool(1, "tier"), DataPlane(1), local=True)
    async with tier.blobs.part(key, size) as part:
        if proven:
            part.record(proven)
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
