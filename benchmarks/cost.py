"""What one command costs: wall time, processor time, and the peak memory of all its processes together."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of wall clock and of processors, MiB of memory at the peak, 0 where it was not looked at.

    `within` is the wall time of the work itself, without the start of the process that asks for it.
    """

    wall: float
    cpu: float = 0.0
    memory: float = 0.0
    within: float = 0.0


class Failed(Exception):
    """A command that should have worked did not."""


def cost_of(command: Sequence[str], environ: Mapping[str, str], directory: Path, *, memory: bool = False) -> Cost:
    """Run a command to its successful end; raises Failed with what it printed."""
    began = time.monotonic()
    with (directory / "bench.log").open("w+b") as log:
        process = subprocess.Popen(
            command, env=dict(environ), cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        with Peak(process.pid, memory) as peak:
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise Failed(f"{' '.join(command)} ended with {process.returncode}:\n{log.read().decode()[-2000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, peak.mebibytes)


class Peak:
    """Looks at a process and its children until the block ends; shared pages are counted once (PSS)."""

    def __init__(self, pid: int, wanted: bool) -> None:
        self.mebibytes = 0.0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch) if wanted else None

    def __enter__(self) -> Peak:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            self.mebibytes = max(self.mebibytes, memory_of(self._pid))


def memory_of(pid: int) -> float:
    """MiB of a process and all its children, shared pages counted once."""
    return sum(_kibibytes(one, "smaps_rollup", "Pss:") for one in family(pid)) / 1024


def resident_of(pid: int) -> float:
    """MiB that a process and all its children have resident, shared pages counted for each."""
    return sum(_kibibytes(one, "status", "VmRSS:") for one in family(pid)) / 1024


def processor_seconds_of(pid: int) -> float:
    """What a process has used so far, in user and system mode; 10 ms are the least it can say."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and all that descend from it, those that ended meanwhile left out."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _kibibytes(pid: int, file: str, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    return 0
