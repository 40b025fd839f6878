"""On a real network volume with two hosts, every promise of a tier holds."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.services.netvol import network_volume
from tests.tiers import two_hosts


@pytest.mark.integration
@pytest.mark.timeout(180)
def test_two_hosts_share_one_volume() -> None:
    with network_volume() as volume:
        # In a process of its own, since whoever looks at a mount that hangs cannot be ended.
        command = [sys.executable, "-m", two_hosts.__name__, str(volume.a), str(volume.b)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
