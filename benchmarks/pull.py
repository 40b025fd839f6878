"""P3: a model of 20 files from a hub to the volume, verified, against the hub's own client."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cost import Cost, cost_of
from benchmarks.report import Row
from benchmarks.rounds import OURS, interleaved, ratios
from benchmarks.stage import MODEL, REF, Stage

_HF = "hf download && sync"
_SYNC = "find {} -type f -exec sync {{}} +"


def pull(stage: Stage, rounds: int) -> Iterator[Row]:
    """The rows of P3."""
    costs = interleaved({OURS: lambda: _ours(stage), _HF: lambda: _hub_client(stage)}, rounds, "P3 pull")
    ours, theirs = costs[OURS], costs[_HF]
    wall = f"{statistics.median(c.wall for c in ours):.2f} s against {statistics.median(c.wall for c in theirs):.2f} s"
    cpu = f"{statistics.median(c.cpu for c in ours):.2f} s against {statistics.median(c.cpu for c in theirs):.2f} s"
    peak = (
        f"{statistics.median(c.memory for c in ours):.0f} against {statistics.median(c.memory for c in theirs):.0f} MiB"
    )
    work = "pull 20 files, verified"
    yield Row("P3", f"{work}: wall", _HF, ratios([c.wall for c in ours], [c.wall for c in theirs]), 0.3, note=wall)
    memory = ratios([c.memory for c in ours], [c.memory for c in theirs])
    yield Row("P3", f"{work}: peak memory", _HF, memory, 0.35, note=peak)
    processors = ratios([c.cpu for c in ours], [c.cpu for c in theirs])
    yield Row("P3", f"{work}: processor time", _HF, processors, None, note=cpu)


def _ours(stage: Stage) -> Cost:
    worker = stage.worker("puller")
    command = [sys.executable, "-m", "cachemgr", "pull", REF, "-q"]
    cost = cost_of(command, worker.environ, worker.root, memory=True)
    shutil.rmtree(worker.root)
    return cost


def _hub_client(stage: Stage) -> Cost:
    directory = stage.empty("hub-client")
    hf = Path(sys.executable).with_name("hf")
    environ = {"PATH": os.environ["PATH"], "HOME": str(directory), "HF_HOME": str(directory / "hf")}
    environ |= {"HF_ENDPOINT": stage.hub_url, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    script = f"{hf} download {MODEL} && " + _SYNC.format(directory / "hf")
    cost = cost_of(["sh", "-c", script], environ, directory, memory=True)
    shutil.rmtree(directory)
    return cost
