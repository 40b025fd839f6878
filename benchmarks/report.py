"""The table: each goal, what was measured, and how far it is from the goal."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.rounds import spread

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: `values` (ratios, or counts in `unit`) whose median should not exceed `goal`.

    Without a goal it stands beside the others to be compared with: a floor, or what a part of it costs.
    """

    figure: str
    work: str
    against: str
    values: Sequence[float]
    goal: float | None
    unit: str = "x"
    note: str = ""

    @property
    def measured(self) -> float:
        """The value that is held against the goal."""
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """Met or missed, and by how much."""
        if self.goal is None:
            return ""
        distance = self.measured / self.goal - 1
        return f"met ({distance:+.0%})" if distance <= 0 else f"**missed** ({distance:+.0%})"

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        digits = 2 if self.measured < 100 else 0
        goal = "" if self.goal is None else f"<= {self.goal:g} {self.unit}"
        measured = f"{spread(self.values, digits)} {self.unit}"
        return (self.figure, self.work, self.against, measured, goal, self.verdict, self.note)


_HEAD = ("goal", "work", "against", "median (min-max)", "goal", "verdict", "medians behind it")


def table(rows: Sequence[Row]) -> str:
    """All rows as a Markdown table that can also be read as it is."""
    lines = [_HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    texts = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    texts.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(texts)


def document(rows: Sequence[Row], remarks: Sequence[str], seconds: float) -> str:
    """What is kept: where it was measured, the table, and what was left out and why."""
    now = datetime.now(UTC)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    head = [
        f"# Measured on {now:%Y-%m-%d}, {now:%H:%M} UTC",
        "",
        f"{os.cpu_count()} processors, Linux {platform.release()}, Python {platform.python_version()}; "
        f"{seconds:.0f} s in all, load average at the end {load}.",
        "Peers ran in the same rounds on the same files; a ratio is the median of the rounds, with its spread.",
        "",
        table(rows),
        "",
        *(f"- {remark}" for remark in remarks),
    ]
    return "\n".join(head).rstrip() + "\n"


def keep(text: str) -> Path:
    """Write the document under today's date."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}.md"
    path.write_text(text)
    return path
