"""P4: a model from the volume to the container disk with sha256 and fsync, cold and warm."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cost import Cost, cost_of
from benchmarks.report import Row
from benchmarks.rounds import OURS, Contender, interleaved, ratios
from benchmarks.sdk import Sdk
from benchmarks.stage import REF, Stage, files_of, forget, recall
from tests.services.worker import Worker

_CHECKED = "cp && openssl dgst && sync"
_PLAIN = "cp && sync"
_MIRROR = "VolumeCache.hydrate && sync"
_FLOOR = "openssl dgst of the source, two at a time"
_GOALS = {_CHECKED: (0.6, 0.6), _PLAIN: (1.05, None), _MIRROR: (0.75, 0.75), _FLOOR: (None, None)}
_ENVIRON = {"PATH": os.environ["PATH"], "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class _Promotion:
    """A model that is on the volume, a daemon, and the means to bring it to the disk again and again."""

    stage: Stage
    worker: Worker
    source: Path
    prepare: Callable[[Path], None]

    def ours(self) -> Cost:
        """`cachemgr promote`, asked of a daemon that runs already."""
        self.prepare(self.source)
        began = time.monotonic()
        told = self.worker.json("promote", REF)
        wall = time.monotonic() - began
        self.worker.ok("rm", "--tier", "disk", "-y", REF)
        return Cost(wall, within=told["seconds"])

    def shell(self, script: str) -> Contender:
        """A shell script that copies $SOURCE to $OUT."""

        def run() -> Cost:
            self.prepare(self.source)
            out = self.stage.empty("out")
            environ = _ENVIRON | {"SOURCE": str(self.source), "OUT": str(out)}
            cost = cost_of(["sh", "-c", script], environ, self.stage.root)
            shutil.rmtree(out)
            return cost

        return run

    def mirror(self, sdk: Sdk) -> Contender:
        """The SDK's cache, from its own mirror of the same files; its import is not counted."""

        def run() -> Cost:
            self.prepare(sdk.volume)
            return Cost(sdk.hydrate())

        return run


def promote(stage: Stage, rounds: int, sdk: Sdk | None) -> Iterator[Row]:
    """The rows of P4."""
    worker = stage.worker("promoter")
    with worker.serving():
        source = Path(worker.ok("pull", REF, "-q").strip())
        if sdk is not None:
            sdk.fill(source)
        for warmth, prepare in (("cold", forget), ("warm", recall)):
            promotion = _Promotion(stage, worker, source, prepare)
            yield from _compare(promotion, rounds, warmth, sdk)
    shutil.rmtree(worker.root)


def _compare(promotion: _Promotion, rounds: int, warmth: str, sdk: Sdk | None) -> Iterator[Row]:
    sync = "find $OUT -type f -exec sync {} +"
    contenders = {
        OURS: promotion.ours,
        _CHECKED: promotion.shell(
            f"cp -rL $SOURCE $OUT && find $OUT -type f -exec openssl dgst -sha256 {{}} + && {sync}"
        ),
        _PLAIN: promotion.shell(f"cp -rL $SOURCE $OUT && {sync}"),
        _FLOOR: promotion.shell("find -L $SOURCE -type f -print0 | xargs -0 -P2 -n1 openssl dgst -sha256"),
    }
    if sdk is not None:
        contenders[_MIRROR] = promotion.mirror(sdk)
    costs = interleaved(contenders, rounds, f"P4 promote, {warmth}")
    size = sum(path.stat().st_size for path in files_of(promotion.source)) / 1e9
    for name in (_CHECKED, _PLAIN, _MIRROR, _FLOOR):
        if name in costs:
            # The SDK is in the worker's process already: its import does not count, nor does our command's.
            ours = [cost.within if name == _MIRROR else cost.wall for cost in costs[OURS]]
            theirs = [cost.wall for cost in costs[name]]
            goal = _GOALS[name][warmth == "warm"]
            note = f"{statistics.median(ours):.2f} s against {statistics.median(theirs):.2f} s"
            yield Row("P4", f"promote {size:.1f} GB, {warmth}", name, ratios(ours, theirs), goal, note=note)
