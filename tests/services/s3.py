"""S3 servers on loopback: ministack rejects wrong checksums, rclone checks signatures."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

READY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server: how to reach it, its process, and (rclone) the directory whose children are its buckets."""

    kind: str
    endpoint_url: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    region: str
    pid: int
    log: Path
    directory: Path | None = None

    def environment(self) -> dict[str, str]:
        """The variables that point any S3 tool at it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_REGION": self.region,
        }


@contextmanager
def ministack_server(scratch: Path) -> Iterator[S3Server]:
    """An S3 in memory that verifies SHA-256, CRC and MD5 of what it is sent, and no signature."""
    port = _free_port()
    environ = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "SERVICES": "s3",
        "LOG_LEVEL": "WARNING",
        "TMPDIR": str(scratch),
    }
    log = scratch / "ministack.log"
    with _running([_tool("ministack")], environ, port, log) as pid:
        yield S3Server("ministack", f"http://127.0.0.1:{port}", "test", "test", "us-east-1", pid, log)


@contextmanager
def rclone_server(scratch: Path) -> Iterator[S3Server]:
    """An S3 over a directory that verifies signatures and Content-MD5, and ignores conditions on writes."""
    port, key, secret = _free_port(), "tests", secrets.token_hex(16)
    directory, log = scratch / "buckets", scratch / "rclone.log"
    directory.mkdir()
    command = [_tool("rclone"), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{key},{secret}"]
    command += ["--dir-cache-time", "24h", "--config", str(scratch / "none.conf"), str(directory)]
    with _running(command, {}, port, log) as pid:
        yield S3Server("rclone", f"http://127.0.0.1:{port}", key, secret, "us-east-1", pid, log, directory)


@contextmanager
def _running(command: Sequence[str], environ: Mapping[str, str], port: int, log: Path) -> Iterator[int]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environ},
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            cwd=log.parent,
        )
    try:
        _wait_until_listening(process, port, log)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} did not start: {log.read_text(errors='replace')[-2000:]}")


def _tool(name: str) -> str:
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise RuntimeError(f"{name} is not installed beside {sys.executable}: it is a development dependency")
    return str(path)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
