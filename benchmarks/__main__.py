"""`python -m benchmarks [P3 P4 P5 P10]`: measure against the peers, print the table, write it under today's date."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.idle import idle
from benchmarks.promote import promote
from benchmarks.pull import both, pull, room_for_both
from benchmarks.report import Row, document, keep
from benchmarks.sdk import Missing, Sdk
from benchmarks.stage import Stage, staged

FIGURES = ("P3", "P4", "P5", "P10")
_GB_PER_SCALE = 1.28
_PROMOTED = 1.5


def main() -> int:
    """Run what was asked for; 1 if a goal was missed and --strict was given."""
    options = _parser().parse_args()
    rows: list[Row] = []
    remarks: list[str] = []
    began = time.monotonic()
    for figure in options.figures or FIGURES:
        # A promotion is over so soon that with a small model the start of the commands would be measured.
        scale = options.scale * (_PROMOTED if figure == "P4" else 1)
        with staged(options.directory, scale) as stage:
            _check_room(stage, scale)
            for row in _figure(figure, stage, options, remarks):
                rows.append(row)
                print("  ".join(cell for cell in row.cells() if cell), file=sys.stderr)
    text = document(rows, remarks, time.monotonic() - began)
    print(text)
    if not options.no_result:
        print(f"written to {keep(text)}", file=sys.stderr)
    missed = [row for row in rows if row.goal is not None and row.measured > row.goal]
    return 1 if missed and options.strict else 0


def _figure(figure: str, stage: Stage, options: argparse.Namespace, remarks: list[str]) -> Iterator[Row]:
    if figure == "P3":
        return pull(stage, options.rounds)
    if figure == "P10":
        return idle(stage, options.rounds)
    if figure == "P5":
        if room_for_both(int(options.scale * _GB_PER_SCALE * 1e9)):
            return both(stage, options.rounds)
        remarks.append("P5 was left out: /dev/shm, the second device, has no room for the model")
        return iter(())
    return promote(stage, options.rounds, _sdk(stage, remarks))


def _sdk(stage: Stage, remarks: list[str]) -> Sdk | None:
    try:
        return Sdk.install(stage.root)
    except Missing as exc:
        remarks.append(f"P4 without the SDK's VolumeCache: {exc}")
        return None


def _check_room(stage: Stage, scale: float) -> None:
    needed = int(7 * _GB_PER_SCALE * scale * 1e9)
    free = shutil.disk_usage(stage.root).free
    if free < needed:
        raise SystemExit(f"{stage.root} has {free >> 20} MiB free; {needed >> 20} are needed (--scale, --directory)")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="P", help=f"of {', '.join(FIGURES)}; default all")
    parser.add_argument("--rounds", type=int, default=5, help="of each comparison; default 5")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of the model; 1.0 (default) is 1.28 GB, half as much again for P4"
    )
    parser.add_argument("--directory", type=Path, help="where to work; default the system's temporary directory")
    parser.add_argument("--no-result", action="store_true", help="do not write benchmarks/results/<date>.md")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a goal is missed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
