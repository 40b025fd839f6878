"""Rounds: each contender once per round, one after the other, so that a busy minute is busy for all of them."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence

from benchmarks.cost import Cost

Contender = Callable[[], Cost]
OURS = "cachemgr"


def interleaved(contenders: Mapping[str, Contender], rounds: int, label: str) -> dict[str, list[Cost]]:
    """The costs of each contender, one per round; who begins changes from round to round."""
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            if sys.stderr.isatty():
                print(f"\r  {label}: round {number + 1} of {rounds}, {name}\033[K", end="\r", file=sys.stderr)
            costs[name].append(contenders[name]())
    return costs


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours over theirs, pair by pair."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The median, and the least and the greatest value."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"
