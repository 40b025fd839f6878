"""P3 and P5: a model of 20 files from a hub to the volume, and to the disk too, against the hub's own client."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.cost import Cost, Peak, cost_of
from benchmarks.report import Row
from benchmarks.rounds import OURS, interleaved, ratios
from benchmarks.stage import MODEL, REF, Stage

_HF = "hf download && sync"
_HF_CP = "hf download && cp && sync"
_ASKED = "cachemgr, asked"
_FLOOR = "the bytes received and thrown away"
_MEMORY = Path("/dev/shm")


def pull(stage: Stage, rounds: int) -> Iterator[Row]:
    """The rows of P3."""
    paths = _paths(stage)
    contenders = {
        OURS: lambda: _pull(stage),
        _ASKED: lambda: _ask(stage),
        _HF: lambda: _hub_client(stage),
        _FLOOR: lambda: _floor(stage, paths),
    }
    costs = interleaved(contenders, rounds, "P3 pull")
    ours, theirs, asked = costs[OURS], costs[_HF], costs[_ASKED]
    work = "pull 20 files, verified"
    yield _row("P3", f"{work}: wall", _HF, [c.wall for c in ours], [c.wall for c in theirs], 0.3, "s")
    yield _row("P3", f"{work}: peak memory", _HF, [c.memory for c in ours], [c.memory for c in theirs], 0.35, "MiB")
    yield _row("P3", f"{work}: processor time", _HF, [c.cpu for c in ours], [c.cpu for c in theirs], None, "s")
    work += ", by a running daemon"
    yield _row("P3", f"{work}: wall", _HF, [c.wall for c in asked], [c.wall for c in theirs], 0.3, "s")
    yield _row("P3", f"{work}: peak memory", _HF, [c.memory for c in asked], [c.memory for c in theirs], 0.35, "MiB")
    yield _row("P3", f"{work}: wall", _FLOOR, [c.wall for c in asked], [c.wall for c in costs[_FLOOR]], None, "s")


def both(stage: Stage, rounds: int) -> Iterator[Row]:
    """The row of P5: volume and disk are different devices, so the disk is in memory here."""
    with tempfile.TemporaryDirectory(prefix="cachemgr-bench-", dir=_MEMORY) as disk:
        contenders = {
            OURS: lambda: _promote(stage, Path(disk)),
            _HF_CP: lambda: _hub_client(stage, Path(disk)),
        }
        costs = interleaved(contenders, rounds, "P5 pull to both")
    ours, theirs = [cost.wall for cost in costs[OURS]], [cost.wall for cost in costs[_HF_CP]]
    yield _row("P5", "hub to volume and disk, both verified: wall", _HF_CP, ours, theirs, 0.35, "s")


def room_for_both(size_bytes: int) -> bool:
    """True if the second device has room for a model of this size."""
    return _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 2 * size_bytes


def _row(
    figure: str, work: str, against: str, ours: list[float], theirs: list[float], goal: float | None, unit: str
) -> Row:
    digits = 0 if unit == "MiB" else 2
    note = f"{statistics.median(ours):.{digits}f} {unit} against {statistics.median(theirs):.{digits}f} {unit}"
    return Row(figure, work, against, ratios(ours, theirs), goal, note=note)


def _paths(stage: Stage) -> list[str]:
    worker = stage.worker("lister")
    snapshot = Path(worker.ok("pull", REF, "-q").strip())
    found = [str(path.relative_to(snapshot)) for path in snapshot.rglob("*") if path.is_file()]
    shutil.rmtree(worker.root)
    return sorted(found, key=lambda name: "00001" not in name)  # the largest first, as anyone would


def _floor(stage: Stage, paths: list[str]) -> Cost:
    command = [sys.executable, "-m", "benchmarks.floor", stage.hub_url, MODEL, *paths]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[1])}
    return cost_of(command, environ, stage.root)


def _pull(stage: Stage) -> Cost:
    worker = stage.worker("puller")
    cost = cost_of([sys.executable, "-m", "cachemgr", "pull", REF, "-q"], worker.environ, worker.root, memory=True)
    shutil.rmtree(worker.root)
    return cost


def _ask(stage: Stage) -> Cost:
    worker = stage.worker("puller")
    with worker.serving() as daemon, Peak(daemon.pid, wanted=True) as peak:
        command = [sys.executable, "-m", "cachemgr", "pull", REF, "-q"]
        cost = cost_of(command, worker.environ, worker.root, memory=True)
    shutil.rmtree(worker.root)
    return replace(cost, memory=cost.memory + peak.mebibytes)


def _promote(stage: Stage, disk: Path) -> Cost:
    worker = stage.worker("puller")
    environ = worker.environ | {"CACHEMGR_DISK__PATH": str(disk / "tier")}
    cost = cost_of([sys.executable, "-m", "cachemgr", "promote", REF, "-q"], environ, worker.root)
    shutil.rmtree(worker.root)
    shutil.rmtree(disk / "tier")
    return cost


def _hub_client(stage: Stage, disk: Path | None = None) -> Cost:
    directory = stage.empty("hub-client")
    hf = Path(sys.executable).with_name("hf")
    environ = {"PATH": os.environ["PATH"], "HOME": str(directory), "HF_HOME": str(directory / "hf")}
    environ |= {"HF_ENDPOINT": stage.hub_url, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    script = f"{hf} download {MODEL} && find {directory / 'hf'} -type f -exec sync {{}} +"
    if disk is not None:
        copy = disk / "hf"
        script += f" && cp -r {directory / 'hf'} {copy} && find {copy} -type f -exec sync {{}} +"
    cost = cost_of(["sh", "-c", script], environ, directory, memory=disk is None)
    shutil.rmtree(directory)
    if disk is not None:
        shutil.rmtree(disk / "hf")
    return cost
