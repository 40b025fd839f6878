"""A real part goes away with the run that started it, however that ends."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.services.disk import sized_disk

_KILLED_INSIDE = """
import os
from tests.services.disk import sized_disk
with sized_disk(32 << 20) as path:
    print(path, flush=True)
    os.kill(os.getpid(), 9)
"""


@pytest.mark.integration
def test_a_part_does_not_outlive_a_killed_run() -> None:
    with sized_disk(32 << 20) as path:
        assert path.is_mount()
    assert not path.parent.exists()
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", _KILLED_INSIDE], cwd=root, stdout=subprocess.PIPE, text=True, check=False
    )
    path = Path(done.stdout.strip())
    deadline = time.monotonic() + 30
    while path.parent.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert path.name == "mnt"
    assert not path.parent.exists()
