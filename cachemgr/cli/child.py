"""One child process that stands for this one: it gets our signals, and we exit as it did."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import FrameType

from cachemgr.cli.output import note

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


def run_child(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a command to its end; return its exit code as a shell tells it: 128 + n where a signal ended it."""
    waiting: list[int] = []
    child: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and _typed_here():
            return  # the terminal has sent it to the child as well
        if child:
            child[0].send_signal(number)
        else:
            waiting.append(number)

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        try:
            child.append(subprocess.Popen(command, env=environ))
        except OSError as error:
            note(f"error: cannot run {command[0]}: {error.strerror}")
            return _NOT_FOUND if isinstance(error, FileNotFoundError | NotADirectoryError) else _NOT_EXECUTABLE
        for number in waiting:
            child[0].send_signal(number)
        code = child[0].wait()
        return code if code >= 0 else 128 - code
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _typed_here() -> bool:
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False
