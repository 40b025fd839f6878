"""`cachemgr pull` and what it leaves on the volume, against the project's own hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.content import assert_same, quarantined, seals
from tests.services.hub.faults import Fault
from tests.services.hub.models import model_m20
from tests.services.hub.server import Hub
from tests.services.worker import Worker

pytestmark = [pytest.mark.integration]

SCALE = 0.02
REF = "hf://acme/m20"


def hub_dir(tier: Path) -> Path:
    return tier / "huggingface-cache" / "hub"


def hub_client(worker: Worker, script: str, **environ: str) -> str:
    """The real client library in a process of its own, on the volume's cache directory."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(worker.root / "home"),
        "HF_ENDPOINT": worker.hub_url,
        "HF_HUB_CACHE": str(hub_dir(worker.volume)),
        "HF_HUB_DISABLE_XET": "1",
        **environ,
    }
    command = [sys.executable, "-c", f"from huggingface_hub import *; {script}"]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_a_pulled_model_is_on_the_volume_byte_for_byte(worker: Worker, hub: Hub) -> None:
    commit = hub.add_repo("acme/m20", model_m20(SCALE))
    pulled = worker.json("pull", REF)
    assert pulled["revision"] == commit
    assert pulled["tier"] == "volume"
    assert pulled["files"] == 20
    assert pulled["fetched_bytes"] == pulled["bytes"]
    assert pulled["path"].startswith(str(worker.volume))
    assert_same(hub, "acme/m20", Path(pulled["path"]))
    for path in Path(pulled["path"]).rglob("*"):
        assert path.is_dir() or path.stat().st_mode & 0o777 == 0o444


def test_pulling_again_fetches_nothing(worker: Worker, hub: Hub) -> None:
    hub.add_repo("acme/m20", model_m20(SCALE))
    worker.ok("pull", REF)
    before = hub.bytes("acme/m20/*")
    again = worker.json("pull", REF)
    assert again["fetched_bytes"] == 0
    assert again["reused_bytes"] == again["bytes"]
    assert hub.bytes("acme/m20/*") == before


def test_a_flipped_byte_is_never_sealed_and_the_next_pull_fetches_only_that_file(worker: Worker, hub: Hub) -> None:
    hub.add_repo("acme/m20", model_m20(SCALE))
    bad = "acme/m20/model-00003-of-00011.safetensors"
    hub.fault(Fault("flip", bad, at=1000, times=None))
    problem = worker.fails(4, "pull", REF)
    assert problem["code"] == "verification_failed"
    assert problem["file"] == "model-00003-of-00011.safetensors"
    assert seals(worker.volume) == set()
    assert quarantined(worker.volume)
    hub.faults.clear()
    hub.journal.clear()
    pulled = worker.json("pull", REF)
    assert_same(hub, "acme/m20", Path(pulled["path"]))
    assert {asked.file for asked in hub.requests(method="GET", file="acme/m20/*") if asked.bytes} == {bad}
    assert pulled["fetched_bytes"] == (Path(pulled["path"]) / problem["file"]).stat().st_size


def test_after_a_commit_an_online_hub_client_fetches_only_the_changed_file(worker: Worker, hub: Hub) -> None:
    hub.add_repo("acme/m20", model_m20(SCALE))
    worker.ok("pull", REF)
    commit = hub.commit("acme/m20", {"generation_config.json": json.dumps({"max_new_tokens": 32})})
    hub.journal.clear()
    path = hub_client(worker, "print(snapshot_download('acme/m20'))")
    assert path.endswith(commit)
    fetched = {asked.file for asked in hub.requests(method="GET", file="acme/m20/*") if asked.bytes}
    assert fetched == {"acme/m20/generation_config.json"}
    assert_same(hub, "acme/m20", Path(path))


def test_after_a_commit_our_own_pull_fetches_only_the_changed_file(worker: Worker, hub: Hub) -> None:
    first = hub.add_repo("acme/m20", model_m20(SCALE))
    worker.ok("pull", REF)
    second = hub.commit("acme/m20", {"generation_config.json": json.dumps({"max_new_tokens": 32})})
    hub.journal.clear()
    pulled = worker.json("pull", REF)
    assert pulled["revision"] == second != first
    fetched = {asked.file for asked in hub.requests(method="GET", file="acme/m20/*") if asked.bytes}
    assert fetched == {"acme/m20/generation_config.json"}
    assert len(seals(worker.volume)) == 2


def test_a_hub_client_reads_it_offline(worker: Worker, hub: Hub) -> None:
    hub.add_repo("acme/m20", model_m20(SCALE))
    pulled = worker.json("pull", REF)
    hub.journal.clear()
    assert hub_client(worker, "print(snapshot_download('acme/m20'))", HF_HUB_OFFLINE="1") == pulled["path"]
    assert hub.requests() == []


def test_an_interrupted_download_of_another_client_is_neither_trusted_nor_damaged(worker: Worker, hub: Hub) -> None:
    old = hub.add_repo("acme/m20", model_m20(SCALE))
    first = hub_client(worker, "print(snapshot_download('acme/m20'))")
    new = hub.commit("acme/m20", {"config.json": '{"model_type": "bert", "x": 1}', "added.safetensors": "x" * 5000})
    hub.fault(Fault("status", "acme/m20/added.safetensors", times=None, status=500))
    interrupted = "try: snapshot_download('acme/m20', max_workers=1)\nexcept Exception: pass"
    hub_client(worker, interrupted.replace("try", "\ntry", 1))
    hub.faults.clear()
    before = {path: path.read_bytes() for path in Path(first).rglob("*") if path.is_file()}
    pulled = worker.json("pull", REF)
    assert pulled["revision"] == new != old
    assert_same(hub, "acme/m20", Path(pulled["path"]))
    assert {path: path.read_bytes() for path in Path(first).rglob("*") if path.is_file()} == before
    assert hub_client(worker, "print(snapshot_download('acme/m20'))") == pulled["path"]


def test_patterns_bring_only_what_they_name_and_widening_brings_the_rest(worker: Worker, hub: Hub) -> None:
    hub.add_repo("acme/m20", model_m20(SCALE))
    pulled = worker.json("pull", REF, "--include", "*.json", "--exclude", "model.safetensors.index.json")
    assert pulled["files"] == 5
    assert sorted(path.suffix for path in Path(pulled["path"]).iterdir()) == [".json"] * 5
    assert worker.fails(3, "path", REF)["code"] == "not_found"
    whole = worker.json("pull", REF)
    assert whole["fetched_bytes"] < whole["bytes"]
    assert_same(hub, "acme/m20", Path(whole["path"]))
    assert worker.ok("path", REF).strip() == whole["path"]


@pytest.mark.parametrize(
    ("ref", "code", "exit_code"),
    [
        ("hf://acme/nothing", "not_found", 3),
        ("hf://acme/m20@nothing", "not_found", 3),
        ("hf://acme/gated", "unauthorized", 7),
        ("hf://acme/private", "not_found", 3),
        ("hf://a/b@../../x", "usage", 2),
        ("acme/m20", "usage", 2),
        ("ftp://acme/m20", "usage", 2),
    ],
)
def test_each_wrong_ref_has_its_own_code(worker: Worker, hub: Hub, ref: str, code: str, exit_code: int) -> None:
    hub.add_repo("acme/m20", model_m20(0.001))
    hub.add_repo("acme/gated", {"a": "b"}, gated=True)
    hub.add_repo("acme/private", {"a": "b"}, private=True)
    problem = worker.fails(exit_code, "pull", ref)
    assert problem["code"] in (code, "unauthorized") if "private" in ref else problem["code"] == code
    assert seals(worker.volume) == set()


def test_a_token_opens_what_is_gated_and_appears_nowhere(worker: Worker, hub: Hub) -> None:
    hub.add_repo("acme/gated", {"config.json": "{}", "w.safetensors": "x" * 9000}, gated=True)
    pulled = worker.json("pull", "hf://acme/gated", environ={"HF_TOKEN": hub.token})
    assert_same(hub, "acme/gated", Path(pulled["path"]))
    for path in worker.root.rglob("*"):
        assert not path.is_file() or hub.token.encode() not in path.read_bytes(), path
    bad = worker.run("pull", "hf://acme/gated@main", environ={"HF_TOKEN": "hf_" + "z" * 34})
    assert bad.returncode == 7
    assert "z" * 34 not in bad.stdout + bad.stderr


def test_with_the_origin_away_a_pull_fails_unless_stale_is_allowed(worker: Worker, hub: Hub) -> None:
    commit = hub.add_repo("acme/m20", model_m20(0.001))
    assert worker.fails(1, "pull", REF, environ={"HF_ENDPOINT": "http://127.0.0.1:9"})["code"] == "origin_unavailable"
    worker.ok("pull", REF)
    away = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    assert worker.fails(1, "pull", REF, environ=away)["code"] == "origin_unavailable"
    stale = worker.json("pull", REF, "--allow-stale", environ=away)
    assert (stale["stale"], stale["revision"], stale["fetched_bytes"]) == (True, commit, 0)
    assert worker.json("pull", f"{REF}@{commit}", environ=away)["stale"] is False


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a\0b", "a" * 300, "a/../../x", "a//b"], ids=range(6))
def test_a_hostile_file_name_is_refused_before_a_byte_is_written(worker: Worker, hub: Hub, name: str) -> None:
    hub.add_repo("acme/evil", {"config.json": "{}", name: "x"})
    problem = worker.fails(2, "pull", "hf://acme/evil")
    assert problem["code"] == "usage"
    assert seals(worker.volume) == set()
    assert not (worker.root / "x").exists()


@pytest.mark.parametrize("lie", [{"size": 5}, {"digest": "0" * 64}], ids=["size", "digest"])
def test_a_manifest_that_lies_seals_nothing(worker: Worker, hub: Hub, lie: dict[str, object]) -> None:
    hub.add_repo("acme/liar", {"config.json": "{}", "w.safetensors": "x" * 9000})
    hub.repos.lie("acme/liar", "w.safetensors", **lie)  # type: ignore[arg-type]  # one of size and digest
    done = worker.run("pull", "hf://acme/liar", "--json")
    assert done.returncode in (1, 4), done.stdout
    assert seals(worker.volume) == set()


def test_quiet_output_is_the_directory_and_nothing_else(worker: Worker, hub: Hub) -> None:
    hub.add_repo("acme/m20", model_m20(0.001))
    directory = worker.ok("pull", "-q", REF).strip()
    assert Path(directory).is_dir()
    assert worker.ok("path", REF) == directory + "\n"
    assert worker.ok("promote", "-q", REF).strip().startswith(str(worker.disk))


def test_a_filtered_snapshot_loads_offline_with_the_same_filter(worker: Worker, hub: Hub) -> None:
    hub.add_repo("acme/m20", model_m20(0.001))
    pulled = worker.json("pull", REF, "--include", "*.json")
    script = "print(snapshot_download('acme/m20', allow_patterns=['*.json']))"
    assert hub_client(worker, script, HF_HUB_OFFLINE="1") == pulled["path"]
