"""A missing real part is said at the end of the run, or fails it where CI demands all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

TESTS = """
import pytest
from tests.services.parts import require, require_program

def test_present():
    require("shell", True, "never")
    assert require_program("shell", "sh")

@pytest.mark.parametrize("number", range(3))
def test_absent(number):
    require_program("Flux capacitor", "flux-capacitord")

def test_needs_root():
    require("small disks", False, "needs root")
"""


def run(tmp_path: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "test_parts_of_mine.py").write_text(TESTS)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("CACHEMGR_", "PYTEST_"))} | environ
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    command += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), str(tmp_path)]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_left_out_parts_are_named_at_the_end(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Flux capacitor (flux-capacitord is not installed): 3 left out" in result.stdout
    assert "small disks (needs root): 1 left out" in result.stdout
    assert "1 passed, 4 skipped" in result.stdout


def test_a_missing_part_fails_where_all_are_demanded(tmp_path: Path) -> None:
    result = run(tmp_path, CACHEMGR_REQUIRE_PARTS="1")
    assert result.returncode == 1
    assert "Flux capacitor: flux-capacitord is not installed, and CACHEMGR_REQUIRE_PARTS=1" in result.stdout
    assert "1 passed" in result.stdout
    assert "4 failed" in result.stdout
