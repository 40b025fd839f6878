"""`make demo`: it goes well with and without a terminal, says where it goes wrong, and leaves nothing."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo.story import STEPS
from tests.e2e.documents import ROOT

pytestmark = [pytest.mark.e2e]

DEMO = [sys.executable, "-m", "tests.demo"]
DEMO_SECONDS = 170
BROKEN = """
import sys
from tests.demo.play import play
from tests.demo.screen import Screen
from tests.demo.stage import stage
from tests.demo.story import Step
steps = [Step("Holds", lambda on: on.check(True, "true")), Step("Breaks", lambda on: on.run("exit 7"))]
sys.exit(play(Screen(), stage, lambda on: None, steps))
"""


@pytest.fixture
def below() -> Iterator[Path]:
    """A directory for all that the demo makes, with a short name: a socket's path is short."""
    directory = Path(tempfile.mkdtemp(prefix="d"))
    yield directory
    shutil.rmtree(directory)


def environ(below: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(below), "TMPDIR": str(below), "TERM": "xterm", "LANG": "C.UTF-8"}


def assert_nothing_left(below: Path) -> None:
    assert list(below.iterdir()) == []
    mine = str(below).encode()
    left = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(pid) != os.getpid() and mine in Path(f"/proc/{pid}/environ").read_bytes():
                left.append(Path(f"/proc/{pid}/cmdline").read_bytes())
        except OSError:
            continue
    assert left == []


def test_it_goes_well_and_counts_what_it_checked(below: Path) -> None:
    done = subprocess.run(
        DEMO,
        cwd=ROOT,
        env=environ(below),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEMO_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.findall(r"^\d+\. (.*)$", done.stdout, re.MULTILINE) == [step.title for step in STEPS]
    ticks = len(re.findall("^  ✓ ", done.stdout, re.MULTILINE)) - 1  # the last one counts the others
    assert f"✓ {ticks} checks, and all of them held" in done.stdout
    assert ticks >= 2 * len(STEPS)
    assert "Enter" not in done.stdout
    assert "\x1b" not in done.stdout
    assert re.search(r"The status page: http://127\.0\.0\.1:\d+/$", done.stdout, re.MULTILINE)
    assert_nothing_left(below)


def test_in_a_terminal_the_daemon_stays_until_enter_is_pressed(below: Path) -> None:
    here, there = pty.openpty()
    demo = subprocess.Popen(DEMO, cwd=ROOT, env=environ(below), stdin=there, stdout=there, stderr=there)
    os.close(there)
    try:
        shown = until(here, "press Enter")
        page = re.findall(r"http://127\.0\.0\.1:\d+/", shown)[-1]
        with urllib.request.urlopen(page, timeout=5) as answer:
            assert b"cachemgr" in answer.read()
        own = re.findall(r"\. (/\S+/env\.sh)", shown)[-1]
        typed = subprocess.run(
            ["/bin/sh", "-c", f". {own}; cachemgr ls --json"], capture_output=True, text=True, check=False, timeout=30
        )
        assert '"hf://acme/m20@main"' in typed.stdout, typed.stderr
        assert "━" in shown  # its commands drew their own progress bars
        os.write(here, b"\n")
        assert demo.wait(30) == 0
    finally:
        demo.kill()
        demo.wait()
        os.close(here)
    assert_nothing_left(below)


def until(terminal: int, words: str) -> str:
    """What a terminal shows, until it shows these words."""
    shown, deadline = b"", time.monotonic() + DEMO_SECONDS
    while words.encode() not in shown:
        assert select.select([terminal], [], [], deadline - time.monotonic())[0], shown.decode()
        try:
            shown += os.read(terminal, 65536)
        except OSError:  # its other end was closed
            raise AssertionError(shown.decode()) from None
    return shown.decode()


def test_a_step_that_goes_wrong_is_named_and_the_exit_code_says_so(below: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BROKEN],
        cwd=ROOT,
        env=environ(below) | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEMO_SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "  ✗ in step 2 (Breaks): `exit 7` ended with exit code 7, not 0"
    assert '"event": "serving"' in done.stdout
    assert_nothing_left(below)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_an_interruption_leaves_nothing(below: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        DEMO, cwd=ROOT, env=environ(below), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if b"$ cachemgr pull" in line:
                break
        demo.send_signal(number)
        rest = demo.stdout.read()
    assert demo.returncode == 128 + number, rest
    assert_nothing_left(below)
