"""Whichever call to the operating system fails or is a process's last: complete or absent, and the work goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiers import dying

TROUBLES = ["death", "EIO", "ENOSPC"]


def meet(trouble: str, scenario: str, directory: Path, stride: int) -> None:
    command = [sys.executable, "-m", dying.__name__, str(directory), scenario, trouble, str(stride)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20, "so many steps there are at least"


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("scenario", sorted(dying.SCENARIOS))
def test_trouble_at_some_calls_leaves_nothing_half(scenario: str, trouble: str, tmp_path: Path) -> None:
    meet(trouble, scenario, tmp_path, stride=13)


@pytest.mark.integration
@pytest.mark.timeout(180)
@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("scenario", sorted(dying.SCENARIOS))
def test_trouble_at_any_call_leaves_nothing_half(scenario: str, trouble: str, tmp_path: Path) -> None:
    meet(trouble, scenario, tmp_path, stride=1)
