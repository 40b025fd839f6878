"""A worker as its user sees it: two tiers, an environment, and the `cachemgr` command in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-m", "cachemgr")
DEADLINE_SECONDS = 120.0


@dataclass
class Worker:
    """Directories and environment of one worker; every command runs in it and nowhere else."""

    root: Path
    hub_url: str = "http://127.0.0.1:9"
    extra: dict[str, str] = field(default_factory=dict)
    volume: Path = field(init=False)
    disk: Path = field(init=False)
    admin_port: int = field(init=False)

    def __post_init__(self) -> None:
        self.volume = self.root / "volume"
        self.disk = self.root / "disk"
        self.admin_port = free_port()
        for path in (self.volume, self.disk, self.root / "home"):
            path.mkdir(parents=True, exist_ok=True)

    @property
    def socket(self) -> Path:
        return self.root / "run" / "cachemgr.sock"

    @property
    def environ(self) -> dict[str, str]:
        """All that the command sees: nothing of the machine that runs the tests but its PATH."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root / "home"),
            "HF_ENDPOINT": self.hub_url,
            "CACHEMGR_VOLUME__PATH": str(self.volume),
            "CACHEMGR_DISK__PATH": str(self.disk),
            "CACHEMGR_DISK__MIN_FREE": "1MiB",
            "CACHEMGR_API__SOCKET": str(self.socket),
            "CACHEMGR_ADMIN__LISTEN": f"127.0.0.1:{self.admin_port}",
            **self.extra,
        }

    def run(self, *args: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """One command, to its end."""
        return subprocess.run(
            [*COMMAND, *args],
            env=self.environ | dict(environ or {}),
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd=self.root,
        )

    def ok(self, *args: str, environ: Mapping[str, str] | None = None) -> str:
        """What a command that must succeed prints."""
        done = self.run(*args, environ=environ)
        assert done.returncode == 0, f"{args} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *args: str, environ: Mapping[str, str] | None = None) -> Any:  # Any: whatever the command answers
        """The JSON value that a command prints."""
        return json.loads(self.ok(*args, "--json", environ=environ))

    def fails(self, code: int, *args: str, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The problem document of a command that must end with this exit code."""
        done = self.run(*args, "--json", environ=environ)
        assert done.returncode == code, f"{args} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        problem = json.loads(done.stdout)
        assert problem["detail"], problem
        assert problem["hint"], problem
        return dict(problem)

    def start(self, *args: str, environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """A command that goes on; its log is `log.txt`."""
        with (self.root / "log.txt").open("ab") as log:
            return subprocess.Popen(
                [*COMMAND, *args],
                env=self.environ | dict(environ or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.root,
            )

    @contextmanager
    def serving(self, environ: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
        """A daemon that serves, stopped as a platform stops it."""
        daemon = self.start("serve", environ=environ)
        try:
            self.await_ready(daemon)
            yield daemon
        finally:
            if daemon.poll() is None:
                daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
                raise

    def await_ready(self, daemon: subprocess.Popen[bytes]) -> None:
        """Wait until the daemon answers that it is ready."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert daemon.poll() is None, (self.root / "log.txt").read_text()
            try:
                self.admin("/readyz")
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("the daemon is not ready\n" + (self.root / "log.txt").read_text())

    def admin(self, path: str) -> str:
        """A page of the admin port."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def metric(self, series: str) -> float:
        """The value of one series, as it stands in /metrics."""
        for line in self.admin("/metrics").splitlines():
            name, _, value = line.rpartition(" ")
            if name == series:
                return float(value)
        raise AssertionError(f"no series {series}")


def free_port() -> int:
    """A TCP port that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
