"""What the log does not load."""

from __future__ import annotations

import subprocess
import sys


def test_a_daemon_does_not_carry_the_command_lines_tables() -> None:
    script = "import sys, cachemgr.log; assert 'rich.console' not in sys.modules; import rich.console"
    subprocess.run([sys.executable, "-c", script], check=True)
