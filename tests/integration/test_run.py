"""`cachemgr run -- CMD`: an unchanged program reads the verified model from the fastest tier."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.content import assert_same
from tests.services.hub.models import model_m20
from tests.services.hub.server import Hub
from tests.services.worker import Worker

pytestmark = [pytest.mark.integration]

REF = "hf://acme/m20"
SNAPSHOT = "import huggingface_hub; print(huggingface_hub.snapshot_download('acme/m20'))"


def vllm(worker: Worker) -> dict[str, str]:
    """What worker-vllm sets: the hub library looks at the volume."""
    return {
        "CACHEMGR_MODELS": REF,
        "HF_HOME": str(worker.volume / "huggingface-cache/hub"),
        "HUGGINGFACE_HUB_CACHE": str(worker.volume / "huggingface-cache/hub"),
        "HF_HUB_DISABLE_XET": "1",
    }


def test_an_unchanged_program_reads_from_the_disk_and_asks_the_hub_nothing(worker: Worker, hub: Hub) -> None:
    hub.add_repo("acme/m20", model_m20(0.02))
    done = worker.run("run", "--", sys.executable, "-c", SNAPSHOT, environ=vllm(worker))
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path.is_relative_to(worker.disk)
    assert_same(hub, "acme/m20", path)


def test_cmd_sends_the_hub_no_request(worker: Worker, hub: Hub) -> None:
    hub.add_repo("acme/m20", model_m20(0.001))
    worker.ok("promote", REF)
    count = "print(urllib.request.urlopen(os.environ['HF_ENDPOINT'] + '/_control/requests').read())"
    script = f"import os, urllib.request; {count}; {SNAPSHOT}; {count}"
    lines = worker.ok("run", "--", sys.executable, "-c", script, environ=vllm(worker)).splitlines()
    assert lines[0] == lines[2]


@pytest.mark.parametrize("tier", ["disk", "volume"])
def test_transformers_loads_configuration_and_tokenizer_offline(worker: Worker, hub: Hub, tier: str) -> None:
    hub.add_repo("acme/m20", model_m20(0.001))
    if tier == "volume":
        worker.extra.update({"CACHEMGR_DISK__LOW": "1KB", "CACHEMGR_DISK__HIGH": "1KB", "CACHEMGR_DISK__HARD": "1KB"})
    load = (
        "import os; from transformers import AutoConfig, AutoTokenizer; c = AutoConfig.from_pretrained('acme/m20');"
        "t = AutoTokenizer.from_pretrained('acme/m20'); print(os.environ['HF_HUB_CACHE'], c.model_type, len(t))"
    )
    cache, model_type, size = worker.ok("run", "--", sys.executable, "-c", load, environ=vllm(worker)).split()
    assert cache.startswith(str(worker.disk if tier == "disk" else worker.volume))
    assert model_type
    assert int(size) > 10


@pytest.mark.parametrize("code", [0, 3, 77])
def test_it_exits_with_the_code_of_cmd(worker: Worker, code: int) -> None:
    assert worker.run("run", "--", "sh", "-c", f"exit {code}").returncode == code


def test_a_cmd_that_a_signal_ended_is_told_as_a_shell_tells_it(worker: Worker) -> None:
    assert worker.run("run", "--", "sh", "-c", "kill -9 $$").returncode == 128 + 9


def test_a_cmd_that_does_not_exist_is_told_as_a_shell_tells_it(worker: Worker) -> None:
    done = worker.run("run", "--", "no-such-program")
    assert done.returncode == 127
    assert "no-such-program" in done.stderr


def test_a_signal_reaches_cmd_and_its_answer_comes_back(worker: Worker) -> None:
    script = "trap 'echo got; exit 9' TERM; echo up; while :; do sleep 0.05; done"
    command = worker.start("run", "--", "sh", "-c", script)
    log = worker.root / "log.txt"
    deadline = time.monotonic() + 30
    while "up" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    command.send_signal(signal.SIGTERM)
    assert command.wait(20) == 9
    assert "got" in log.read_text()


def test_on_a_timeout_cmd_starts_with_its_own_environment_and_one_line_says_so(worker: Worker) -> None:
    environ = {**vllm(worker), "HF_ENDPOINT": "http://127.0.0.1:9", "CACHEMGR_RUN__WAIT_TIMEOUT": "2s"}
    began = time.monotonic()
    script = "import os; print(os.environ.get('HF_HUB_CACHE'), os.environ.get('HF_HUB_OFFLINE'))"
    done = worker.run("run", "--", sys.executable, "-c", script, environ=environ)
    assert done.returncode == 0
    assert done.stdout.split() == ["None", "None"]
    assert 1.5 < time.monotonic() - began < 20
    assert sum("own environment" in line for line in done.stderr.splitlines()) == 1


def test_without_waiting_cmd_starts_at_once_and_untouched(worker: Worker) -> None:
    environ = {**vllm(worker), "HF_ENDPOINT": "http://127.0.0.1:9"}
    script = "import os; print(os.environ.get('HF_HUB_CACHE'))"
    assert worker.ok("run", "--no-wait", "--", sys.executable, "-c", script, environ=environ).strip() == "None"


def test_the_model_survives_an_eviction_storm_until_cmd_ends(worker: Worker, hub: Hub) -> None:
    hub.add_repo("acme/m20", model_m20(0.02))
    for number in range(3):
        hub.add_repo(f"acme/other{number}", model_m20(0.02, seed=number))
    worker.extra.update({"CACHEMGR_DISK__LOW": "50MB", "CACHEMGR_DISK__HIGH": "55MB", "CACHEMGR_DISK__HARD": "60MB"})
    script = (
        f"{SNAPSHOT}; import sys; sys.stdout.flush(); import time, pathlib\n"
        "p = pathlib.Path(huggingface_hub.snapshot_download('acme/m20'))\n"
        "while not pathlib.Path('stop').exists(): assert len(list(p.iterdir())) == 20; time.sleep(0.01)\n"
    )
    command = worker.start("run", "--", sys.executable, "-c", script, environ=vllm(worker))
    deadline = time.monotonic() + 60
    log = worker.root / "log.txt"
    while str(worker.disk) + "/huggingface-cache" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    for _ in range(2):
        for number in range(3):
            worker.ok("promote", f"hf://acme/other{number}")
    (worker.root / "stop").touch()
    assert command.wait(30) == 0, log.read_text()


def test_the_daemon_ends_with_cmd_and_leaves_no_process(worker: Worker, hub: Hub) -> None:
    hub.add_repo("acme/m20", model_m20(0.001))
    worker.ok("run", "--", "true", environ=vllm(worker))
    mine = str(worker.root).encode()
    left = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if mine in Path(f"/proc/{pid}/environ").read_bytes():
                left.append(Path(f"/proc/{pid}/cmdline").read_bytes())
        except OSError:
            continue
    assert left == []


def test_a_running_daemon_is_used(worker: Worker, hub: Hub) -> None:
    hub.add_repo("acme/m20", model_m20(0.001))
    with worker.serving():
        path = worker.ok("run", "--", sys.executable, "-c", SNAPSHOT, environ=vllm(worker)).strip()
        assert path.startswith(str(worker.disk))
        assert subprocess.run(["true"], check=True).returncode == 0
        assert worker.json("ls", "--tier", "disk")[0]["held"] is False
