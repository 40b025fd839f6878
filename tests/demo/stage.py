"""The stage: a hub, an S3 and one worker on loopback, and the commands that run there."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.demo.screen import Screen
from tests.demo.signals import deferred, ignored
from tests.services.hub.server import Hub, hub_server
from tests.services.s3 import S3Server, rclone_server
from tests.services.worker import Worker

NEEDED_BYTES = 1_000_000_000
COMMAND_SECONDS, GRACE_SECONDS = 120.0, 5.0
BUCKET = "training"
_TERMINAL = ("TERM", "COLORTERM", "NO_COLOR", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
_LONGEST_SOCKET_DIRECTORY = 60


class Wrong(Exception):
    """The demo claimed something that does not hold."""


@dataclass(slots=True)
class Stage:
    """What the steps work with; `ticks` counts the checks that held."""

    screen: Screen
    hub: Hub
    s3: S3Server
    worker: Worker
    ticks: int = 0
    hub_bytes: int = field(default=0)

    @property
    def status_page(self) -> str:
        """For a person's browser."""
        return f"http://127.0.0.1:{self.worker.admin_port}/"

    def run(self, command: str, code: int = 0) -> None:
        """Show a command and run it; what it prints goes to the terminal by itself. Raises Wrong."""
        self._run(command, code, None)

    def read(self, command: str) -> str:
        """The same, and return what it printed. Raises Wrong."""
        printed = self._run(command, 0, subprocess.PIPE)
        self.screen.line(printed.rstrip("\n"))
        return printed

    def _run(self, command: str, code: int, stdout: int | None) -> str:
        self.screen.command(command)
        shell: subprocess.Popen[str] | None = None
        try:
            with deferred():
                shell = self._start(command, stdout)
            printed, _ = shell.communicate(timeout=COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            raise Wrong(f"`{command}` did not end within {COMMAND_SECONDS:.0f} s") from None
        finally:
            if shell is not None:
                _end_group(shell)
        if shell.returncode != code:
            raise Wrong(f"`{command}` ended with exit code {shell.returncode}, not {code}")
        return printed or ""

    def _start(self, command: str, stdout: int | None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["/bin/sh", "-c", command],
            env=self.worker.environ,
            cwd=self.worker.root,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            text=True,
            process_group=0,  # whoever ended the shell alone would leave the command behind, to go on by itself
        )

    def check(self, holds: bool, text: str) -> None:
        """Tick it if it holds; raises Wrong if it does not."""
        if not holds:
            raise Wrong(f"this does not hold: {text}")
        self.ticks += 1
        self.screen.tick(text)

    def forget_requests(self) -> None:
        """Let the hub count from zero again."""
        sent = self.hub.requests(method="GET", file="acme/*")
        self.hub_bytes += sum(asked.bytes for asked in sent if asked.status in (200, 206))  # a redirect has a body, too
        self.hub.journal.clear()

    def moved_bytes(self) -> int:
        """What the daemon has moved so far, in every direction."""
        lines = self.worker.admin("/metrics").splitlines()
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith("cachemgr_moved_bytes_total{"))


def _end_group(shell: subprocess.Popen[str]) -> None:
    """See that nothing of a command goes on."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if shell.poll() is None:
            os.killpg(shell.pid, number)
            with suppress(subprocess.TimeoutExpired):
                shell.communicate(timeout=GRACE_SECONDS)


@contextmanager
def stage(screen: Screen) -> Iterator[Stage]:
    """Set it, with a daemon that serves; everything is stopped and removed on leaving. Raises Wrong."""
    with ExitStack() as stack:
        try:
            with deferred():
                made = _set(screen, stack)
            yield made
        finally:
            with ignored():  # each part has its own deadline
                stack.close()


def _set(screen: Screen, stack: ExitStack) -> Stage:
    root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="demo-", dir=_below())))
    if shutil.disk_usage(root).free < NEEDED_BYTES:
        raise Wrong(f"{root} has less than 1 GB free: set TMPDIR to a directory that has")
    hub = stack.enter_context(hub_server(root / "hub"))
    (root / "s3").mkdir()
    s3 = stack.enter_context(rclone_server(root / "s3"))
    (root / "s3" / "buckets" / BUCKET).mkdir()
    worker = Worker(root, hub.url)
    worker.extra.update(_environment(worker, s3))
    _write_environment(worker)
    stack.enter_context(worker.serving())
    return Stage(screen, hub, s3, worker)


def _below() -> str | None:
    # A unix socket's path has 107 bytes at most, and TMPDIR may be long.
    return None if len(tempfile.gettempdir()) < _LONGEST_SOCKET_DIRECTORY else "/tmp"


def _environment(worker: Worker, s3: S3Server) -> dict[str, str]:
    """What the worker's environment says beside where its tiers are; nothing of the machine but its terminal."""
    hub_cache = str(worker.volume / "huggingface-cache" / "hub")
    return {
        **{name: os.environ[name] for name in _TERMINAL if name in os.environ},
        **s3.environment(),
        # As a vLLM worker image sets them: without us its hub library would read the slow volume.
        "HF_HOME": hub_cache,
        "HUGGINGFACE_HUB_CACHE": hub_cache,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "CACHEMGR_DISK__LOW": "110MB",
        "CACHEMGR_DISK__HIGH": "120MB",
        "CACHEMGR_DISK__HARD": "130MB",
    }


def _write_environment(worker: Worker) -> None:
    """For a person who wants to type commands in another terminal."""
    own = [name for name in worker.environ if name not in (*_TERMINAL, "HOME")]
    lines = [f"export {name}={shlex.quote(worker.environ[name])}\n" for name in own]
    (worker.root / "env.sh").write_text("".join(lines))
