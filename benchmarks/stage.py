"""Where it happens: directories on one disk, a hub on loopback in a process of its own, and workers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.services.worker import Worker

MODEL = "acme/m20"
REF = f"hf://{MODEL}"


@dataclass(frozen=True, slots=True)
class Stage:
    """A scratch directory and the address of a hub that serves `MODEL`."""

    root: Path
    hub_url: str

    def worker(self, name: str) -> Worker:
        """A worker with empty tiers."""
        shutil.rmtree(self.root / name, ignore_errors=True)
        # The scratch disk may be fuller than a worker's would be; what is measured is not eviction.
        room = {"CACHEMGR_DISK__LOW": "97%", "CACHEMGR_DISK__HIGH": "98%", "CACHEMGR_DISK__HARD": "99%"}
        return Worker(self.root / name, self.hub_url, room)

    def empty(self, name: str) -> Path:
        """An empty directory."""
        path = self.root / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path


@contextmanager
def staged(directory: Path | None, scale: float) -> Iterator[Stage]:
    """A stage with a model of 1.28 GB times `scale`, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="cachemgr-bench-", dir=directory) as scratch:
        root = Path(scratch)
        command = [sys.executable, "-m", "tests.services.hub", "--root", str(root / "hub")]
        command += ["--model", MODEL, "--scale", str(scale)]
        hub = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert hub.stdout is not None
            yield Stage(root, hub.stdout.readline().strip())
        finally:
            hub.terminate()
            hub.wait()
            if hub.stdout is not None:
                hub.stdout.close()


def files_of(directory: Path) -> list[Path]:
    """All regular files below a directory, links resolved and none twice."""
    return sorted({path.resolve() for path in directory.rglob("*") if path.is_file()})


def forget(directory: Path) -> None:
    """Take a directory's files out of the page cache (they must be clean)."""
    for path in files_of(directory):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def recall(directory: Path) -> None:
    """Bring a directory's files into the page cache."""
    block = bytearray(1 << 20)
    for path in files_of(directory):
        with path.open("rb", buffering=0) as file:
            while file.readinto(block):
                pass
