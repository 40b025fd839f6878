"""A network volume that two hosts mount: MooseFS by FUSE, each host in its own network namespace."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.services.lifeline import served

SCRIPT = Path(__file__).with_name("netvol.sh")
COMMAND_SECONDS = 60

Host = Literal["a", "b"]
Name = Literal["master", "cs1", "cs2", "mounta", "mountb"]


@dataclass(frozen=True, slots=True)
class NetworkVolume:
    """Where each host sees the volume, and what can happen to it.

    Whatever looks at a mount that is cut off hangs, and not even SIGKILL ends it: let children with a deadline do it.
    """

    a: Path
    b: Path
    directory: Path

    def quota(self, size_bytes: int | None) -> None:
        """Set or lift the hard quota: above it EDQUOT."""
        self._command("quota", "none" if size_bytes is None else str(size_bytes))

    def cut(self, host: Host) -> None:
        """Take a host off the network."""
        self._command("cut", host)

    def heal(self, host: Host) -> None:
        """Bring it back; the mount recovers some seconds later."""
        self._command("heal", host)

    def process(self, name: Name, action: Literal["start", "kill", "freeze", "thaw"]) -> None:
        """Do something to a server or a mount's process; mounts cannot be started again."""
        self._command("proc", name, action)

    def pid(self, name: Name) -> int:
        """The process of a server or a mount."""
        return int(self._command("pid", name))

    def _command(self, verb: str, *arguments: str) -> str:
        command = ["bash", str(SCRIPT), verb, str(self.directory), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
        if done.returncode:
            raise RuntimeError(f"netvol.sh {verb} {' '.join(arguments)}: {done.stderr}")
        return done.stdout


@contextmanager
def network_volume(
    quota_bytes: int | None = None,
    *,
    style: Literal["bind", "subfolder"] = "bind",
    chunkserver_bytes: int | None = None,
) -> Iterator[NetworkVolume]:
    """A fresh, empty volume for as long as the block runs; `chunkserver_bytes` makes it run full (ENOSPC).

    `bind` shows the size of the whole pool, as providers do; `subfolder` shows the quota. The test is left out, or
    fails, where FUSE or network namespaces are not allowed: see `tests.services.parts`.
    """
    environ = {
        "NETVOL_QUOTA": "" if quota_bytes is None else str(quota_bytes),
        "NETVOL_CS_SIZE": "" if chunkserver_bytes is None else str(chunkserver_bytes),
        "NETVOL_STYLE": style,
    }
    with served("network volume", SCRIPT, [], environ) as printed:
        a, b = Path(printed["NETVOL_A"]), Path(printed["NETVOL_B"])
        yield NetworkVolume(a, b, a.parents[1])
