"""The platform's own cache, `runpod.serverless.VolumeCache`, from its package in an environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

VERSION = "1.12.0"

_SCRIPT = """
import json, os, sys, time
from runpod.serverless.utils.rp_volume_cache import VolumeCache
verb, directory, volume = sys.argv[1:]
cache = VolumeCache([directory], namespace="bench", volume_path=volume, best_effort=False)
began = time.monotonic()
if verb == "sync":
    cache.sync(background=False)
else:
    cache.hydrate()
    for parent, _, names in os.walk(directory):
        for name in names:
            fd = os.open(os.path.join(parent, name), os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
print(json.dumps({"seconds": time.monotonic() - began, "files": sum(len(f) for _, _, f in os.walk(directory))}))
"""


class Missing(Exception):
    """The package could not be installed here."""


@dataclass(frozen=True, slots=True)
class Sdk:
    """An interpreter that has the package, the directory it caches, and the volume it mirrors that to."""

    python: Path
    directory: Path
    volume: Path

    @classmethod
    def install(cls, root: Path) -> Sdk:
        """Install the pinned package below `root`; raises Missing."""
        uv = Path(sys.executable).with_name("uv")
        python = root / "sdk" / "bin" / "python"
        for command in (
            [str(uv), "venv", "--quiet", "--python", sys.executable, str(root / "sdk")],
            [str(uv), "pip", "install", "--quiet", "--python", str(python), f"runpod=={VERSION}"],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Missing(f"runpod {VERSION} cannot be installed: {done.stderr.strip()[-300:]}")
        return cls(python, root / "sdk-cached", root / "sdk-volume")

    def fill(self, source: Path) -> None:
        """Have it mirror these files."""
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.copytree(source, self.directory)
        self.volume.mkdir(exist_ok=True)
        self._run("sync")

    def hydrate(self) -> float:
        """Seconds to bring them all back, fsync included."""
        expected = sum(path.is_file() for path in self.directory.rglob("*"))
        shutil.rmtree(self.directory)
        self.directory.mkdir()
        told = self._run("hydrate")
        if told["files"] != expected:
            raise Missing(f"VolumeCache brought back {told['files']} of {expected} files")
        return told["seconds"]

    def _run(self, verb: str) -> dict[str, float]:
        environ = {"PATH": os.environ["PATH"], "RUNPOD_DEBUG_LEVEL": "ERROR"}
        command = [str(self.python), "-c", _SCRIPT, verb, str(self.directory), str(self.volume)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
        return dict(json.loads(done.stdout.splitlines()[-1]))
