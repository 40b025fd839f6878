"""Where no daemon runs a command brings its own, and nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import socket as sockets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import COMMAND
from tests.services.worker import Worker


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    # Short, or the command would not use it for its socket.
    with tempfile.TemporaryDirectory(prefix="cm", dir="/tmp") as directory:
        yield Worker(tmp_path / "worker", extra={"TMPDIR": directory})


def temporary(worker: Worker) -> list[str]:
    return os.listdir(worker.extra["TMPDIR"])


def test_a_command_brings_its_own_daemon_and_leaves_nothing(worker: Worker) -> None:
    assert worker.json("ls") == []
    done = worker.run("df")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["TIER", "disk", "volume"]
    assert temporary(worker) == []
    assert not worker.socket.exists()


def test_its_own_daemon_does_not_touch_the_configured_models(worker: Worker) -> None:
    worker.extra["CACHEMGR_MODELS"] = "hf://acme/m20"
    status = worker.json("status")
    assert (status["models"], status["transfers"]) == ([], [])


def test_its_own_daemon_needs_no_port(worker: Worker) -> None:
    with sockets.socket() as taken:
        taken.bind(("127.0.0.1", worker.admin_port))
        taken.listen()
        worker.extra["CACHEMGR_API__LISTEN"] = f"127.0.0.1:{worker.admin_port}"
        worker.extra["CACHEMGR_API__TOKEN"] = "secret"
        assert worker.json("ls") == []


def test_a_socket_that_nobody_listens_on_is_no_daemon(worker: Worker) -> None:
    worker.socket.parent.mkdir()
    with sockets.socket(sockets.AF_UNIX) as dead:
        dead.bind(str(worker.socket))
    assert worker.json("ls") == []


def test_what_keeps_the_daemon_from_serving_is_told(worker: Worker) -> None:
    (worker.root / "file").write_text("")
    problem = worker.fails(1, "ls", environ={"CACHEMGR_DISK__PATH": str(worker.root / "file")})
    assert problem["code"] == "tier_unavailable"
    assert temporary(worker) == []


def test_a_hold_needs_a_daemon_that_stays(worker: Worker) -> None:
    assert worker.fails(2, "path", "hf://acme/m20", "--hold", "10m")["code"] == "usage"


def test_what_a_killed_command_left_is_cleared_by_the_next(worker: Worker) -> None:
    # A hub that never answers keeps the command in its pull.
    with sockets.socket() as hub:
        hub.bind(("127.0.0.1", 0))
        hub.listen()
        environ = {**worker.environ, "HF_ENDPOINT": f"http://127.0.0.1:{hub.getsockname()[1]}"}
        command = subprocess.Popen([*COMMAND, "pull", "hf://acme/m20"], env=environ, stderr=subprocess.PIPE)
        assert command.stderr is not None
        assert b"pulling" in command.stderr.readline()
        assert len(temporary(worker)) == 1
        busy = worker.fails(1, "ls")
        assert busy["code"] == "held"
        assert len(temporary(worker)) == 1  # a running command's is left alone
        command.send_signal(signal.SIGKILL)
        command.wait()
        command.stderr.close()
    deadline = time.monotonic() + 10
    while worker.run("ls").returncode and time.monotonic() < deadline:  # the hub's child may hold on for a moment
        time.sleep(0.1)
    assert json.loads(worker.ok("ls", "--json")) == []
    assert temporary(worker) == []


def test_the_daemon_that_runs_is_asked(worker: Worker) -> None:
    with worker.serving() as daemon:
        assert worker.json("status")["pid"] == daemon.pid
        assert worker.ok("status").startswith("cachemgr ")
