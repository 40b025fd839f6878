"""A real Prometheus on a free port, which scrapes what it is told to and answers queries."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.services.parts import require_program

START_SECONDS = 30.0
SCRAPE_SECONDS = 1

Sample = tuple[Mapping[str, str], float]


class Prometheus:
    """Where it listens, and what it has seen."""

    def __init__(self, url: str) -> None:
        self.url = url

    def samples(self, query: str) -> list[Sample]:
        """Each series that a PromQL query gives right now: its labels and its value."""
        answer = self._get("query", query=query)
        assert isinstance(answer, dict)
        return [(series["metric"], float(series["value"][1])) for series in answer["result"]]

    def value(self, query: str) -> float:
        """The one value that a query gives; 0 if it gives none."""
        found = self.samples(query)
        assert len(found) <= 1, f"{query} gives {len(found)} series"
        return found[0][1] if found else 0.0

    def wait_for(self, query: str, holds: Callable[[float], bool], seconds: float = 20.0) -> float:
        """The value of a query once `holds` is true of it; fails after so many seconds."""
        until = time.monotonic() + seconds
        while not holds(value := self.value(query)):
            assert time.monotonic() < until, f"{query} is still {value} after {seconds} s"
            time.sleep(0.1)
        return value

    def targets(self) -> dict[str, str]:
        """The health of each target by its address: up, down or unknown."""
        answer = self._get("targets", state="active")
        assert isinstance(answer, dict)
        return {target["labels"]["instance"]: target["health"] for target in answer["activeTargets"]}

    def rules(self) -> set[str]:
        """The names of the alerts that it evaluates."""
        answer = self._get("rules", type="alert")
        assert isinstance(answer, dict)
        return {rule["name"] for group in answer["groups"] for rule in group["rules"]}

    def _get(self, what: str, **query: str) -> object:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)["data"]


@contextmanager
def prometheus(directory: Path, targets: Sequence[str], rules: Path | None = None) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes `targets` (`host:port`) each second, as job `cachemgr`; files go to `directory`."""
    program = require_program("Prometheus", "prometheus")
    port = _free_port()
    config = {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"},
        "rule_files": [str(rules)] if rules else [],
        "scrape_configs": [{"job_name": "cachemgr", "static_configs": [{"targets": list(targets)}]}],
    }
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    log = directory / "prometheus.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _until_ready(url, process, log)
        yield Prometheus(url)
    finally:
        _end(process)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, f"prometheus ended:\n{log.read_text()[-2000:]}"
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise AssertionError(f"prometheus is not ready after {START_SECONDS} s:\n{log.read_text()[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
