"""The table says what was measured, and a goal that is missed is printed as missed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.cost import Cost, Failed, cost_of, family
from benchmarks.report import Row, document, table
from benchmarks.rounds import interleaved, ratios, spread


def test_a_goal_is_met_or_missed_by_its_median() -> None:
    met = Row("P1", "work", "peer", [0.4, 0.5, 9.0], 0.5)
    missed = Row("P1", "work", "peer", [0.4, 0.6, 0.6], 0.5)
    assert met.verdict == "met (+0%)"
    assert missed.verdict == "**missed** (+20%)"
    assert Row("P1", "floor", "peer", [1.0], None).verdict == ""


def test_the_table_has_a_line_for_each_row_and_the_spread_in_it() -> None:
    lines = table([Row("P1", "work", "peer", [1.0, 2.0, 3.0], 2.5, "s", "note")]).splitlines()
    assert len(lines) == 3
    assert "2.00 (1.00-3.00) s" in lines[2]
    assert len({len(line) for line in lines}) == 1


def test_what_was_left_out_is_said() -> None:
    assert "- P5 was left out" in document([Row("P1", "w", "p", [1.0], 1.0)], ["P5 was left out"], 1.0)


def test_contenders_take_turns_in_beginning() -> None:
    order: list[str] = []

    def contender(name: str, wall: float) -> Cost:
        order.append(name)
        return Cost(wall)

    costs = interleaved({"a": lambda: contender("a", 1.0), "b": lambda: contender("b", 2.0)}, 3, "test")
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert ratios([c.wall for c in costs["a"]], [c.wall for c in costs["b"]]) == [0.5] * 3
    assert spread([3.0, 1.0, 2.0], 1) == "2.0 (1.0-3.0)"


def test_a_command_is_timed_with_all_its_children(tmp_path: Path) -> None:
    child = "sum(range(10**7))"
    hungry = f"import subprocess, sys; b = b'x' * (40 << 20); subprocess.run([sys.executable, '-c', {child!r}])"
    cost = cost_of([sys.executable, "-c", hungry], {}, tmp_path, memory=True)
    assert cost.wall > 0.1
    assert cost.cpu > 0.05
    assert 40 < cost.memory < 200


def test_a_command_that_fails_counts_for_nothing(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="ended with 3"):
        cost_of([sys.executable, "-c", "raise SystemExit(3)"], {}, tmp_path)


def test_a_process_that_is_gone_has_no_family() -> None:
    assert family(2**22 + 1) == [2**22 + 1]
