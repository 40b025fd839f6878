"""Whichever call to the operating system fails or is a process's last: complete or absent, and the work goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.tiers import churning, dying

TROUBLES = {"death": 1, "EIO": 2, "ENOSPC": 3}  # and how many calls the thorough test goes on each time


def run(module: ModuleType, *arguments: str) -> str:
    command = [sys.executable, "-m", module.__name__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def meet(trouble: str, scenario: str, directory: Path, stride: int) -> None:
    steps = run(dying, str(directory), scenario, trouble, str(stride))
    assert int(steps) > 15, "so many steps there are at least"


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("scenario", sorted(dying.SCENARIOS))
def test_trouble_at_some_calls_leaves_nothing_half(scenario: str, trouble: str, tmp_path: Path) -> None:
    meet(trouble, scenario, tmp_path, stride=13)


@pytest.mark.integration
@pytest.mark.timeout(180)
@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("scenario", sorted(dying.SCENARIOS))
def test_trouble_at_nearly_any_call_leaves_nothing_half(scenario: str, trouble: str, tmp_path: Path) -> None:
    meet(trouble, scenario, tmp_path, stride=TROUBLES[trouble])


def test_a_busy_process_may_be_killed_at_any_instant(tmp_path: Path) -> None:
    run(churning, str(tmp_path), "8", "1")


@pytest.mark.integration
@pytest.mark.torture
def test_a_busy_process_may_be_killed_again_and_again(tmp_path: Path, rounds: Callable[[int], int]) -> None:
    run(churning, str(tmp_path), str(rounds(50)), "2")
