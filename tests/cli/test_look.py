"""`df`, `status`, `verify`, `ckpt` and `config`: tables that fit, values that are exact."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cachemgr.domain.errors import NotFound
from cachemgr.library.answers import BadFile, ModelState, Status, TransferView, Verified
from tests.cli.conftest import Cli
from tests.cli.content import LONG, PATH, REF, TIERS, TOTAL, listed
from tests.cli.terminal import shown
from tests.client.stand_in import World

BUCKET = "s3://bucket/run"
FAILED = {"code": "unauthorized", "detail": "the repository is gated and no token was given", "hint": "set HF_TOKEN"}


def busy() -> Status:
    models = (
        ModelState(REF, "ready", "disk", PATH, None),
        ModelState(LONG, "pulling", None, None, None),
        ModelState("hf://acme/gated@main", "failed", None, None, FAILED),
    )
    transfer = TransferView(
        "id1", "pull", LONG, "running", TOTAL, TOTAL // 2, 20, 6, "2026-11-24T13:00:00Z", 5, None, None
    )
    done = replace(transfer, id="id2", state="done")
    return Status("1.2.3", 7, "pod-abc", "2026-11-24T13:00:00Z", 7800.0, tuple(TIERS), models, (transfer, done), 2)


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_df_fits(world: World, columns: int) -> None:
    world.uses = TIERS
    seen = shown("df", columns=columns)
    assert seen.code == 0
    assert max(map(len, seen.lines)) <= columns
    kind = ["KIND"] if columns >= 100 else []
    assert seen.lines[0].split() == ["TIER", "USED", "RESERVED", "FREE", "LOW", "HIGH", "HARD", *kind, "PATH"]
    assert "/var/cache/cachemgr" in seen.lines[1]
    assert "3.2 TB" in seen.lines[2]


def test_df_is_exact_in_json(cli: Cli, world: World) -> None:
    world.uses = TIERS
    assert cli("df", "--json").json == [asdict(tier) for tier in TIERS]


@pytest.mark.parametrize("columns", [80, 120])
def test_status_is_one_page(world: World, columns: int) -> None:
    world.status = busy()
    seen = shown("status", columns=columns)
    assert seen.code == 0
    assert max(map(len, seen.lines)) <= columns
    assert seen.lines[0] == "cachemgr 1.2.3 on pod-abc, pid 7, up 2 h 10 min, 2 holds"
    assert "gated" in seen.text
    assert "pulling  50 %  1.3 GB   6/20  130 MB/s  5.0 s" in seen.text
    assert len(seen.lines) < 20


def test_status_is_exact_in_json(cli: Cli, world: World) -> None:
    world.status = busy()
    value = cli("status", "--json").json
    assert (value["pid"], len(value["tiers"]), value["models"][2]["error"]["code"]) == (7, 2, "unauthorized")


def test_verify_says_how_much_was_read(cli: Cli, world: World) -> None:
    world.verified = Verified(20, ())
    said = cli("verify")
    assert (said.code, said.out) == (0, "20 files read, none bad\n")
    assert cli("verify", REF, "--tier", "disk", "--json").json == {"checked": 20, "bad": []}
    assert world.calls("verify") == [(None, None), (REF, "disk")]


def test_a_bad_file_is_exit_4_and_named(cli: Cli, world: World) -> None:
    bad = BadFile("disk", listed().id, "model.safetensors", "sha256 is 12, not 34")
    world.verified = Verified(20, (bad,))
    said = cli("verify", "-q")
    assert said.code == 4
    assert said.out.splitlines()[0] == "20 files read, 1 bad"
    assert "model.safetensors" in said.out
    assert cli("verify", "--json").json == {"checked": 20, "bad": [asdict(bad)]}
    assert max(map(len, shown("verify").lines)) <= 80


def test_a_checkpoint_goes_out_and_comes_back(
    cli: Cli, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("ckpt", "push", "out/checkpoint-5", BUCKET, "-q").out == "checkpoint-5\n"
    assert cli("ckpt", "push", "out", BUCKET, "--name", "five", "--json").json["name"] == "five"
    assert cli("ckpt", "pull", BUCKET, "in", "--name", "five").out == f"{tmp_path}/in/last\n"
    assert world.calls("push") == [
        (f"{tmp_path}/out/checkpoint-5", BUCKET, None),
        (f"{tmp_path}/out", BUCKET, "five"),
    ]
    assert world.calls("restore") == [(BUCKET, f"{tmp_path}/in", "five")]


def test_checkpoints_are_listed(cli: Cli, world: World) -> None:
    world.checkpoints = [
        {
            "name": "checkpoint-500",
            "seq": 2,
            "step": 500,
            "bytes": TOTAL,
            "files": 8,
            "published_at": "2026-11-24T13:00:00Z",
            "latest": True,
        },
        {
            "name": "last.ckpt",
            "seq": 1,
            "step": None,
            "bytes": 10,
            "files": 1,
            "published_at": "2026-11-23T13:00:00Z",
            "latest": False,
        },
    ]
    lines = cli("ckpt", "ls", BUCKET).out.splitlines()
    assert lines[0].split() == ["NAME", "SEQ", "STEP", "SIZE", "FILES", "PUBLISHED"]
    assert lines[1].split()[:6] == ["checkpoint-500", "2", "500", "1.3", "GB", "8"]
    assert lines[1].endswith("latest")
    assert lines[2].split()[2] == "-"
    assert cli("ckpt", "ls", BUCKET, "-q").out == "checkpoint-500\nlast.ckpt\n"
    assert cli("ckpt", "ls", BUCKET, "--json").json == world.checkpoints
    assert world.calls("checkpoints") == [(BUCKET,)] * 3


def test_a_checkpoint_that_cannot_be_had_is_an_error(cli: Cli, world: World) -> None:
    world.trouble = NotFound("no checkpoint there")
    assert cli("ckpt", "ls", BUCKET).code == 3
    assert cli("ckpt", "pull", BUCKET, "in").code == 3
    assert cli("ckpt", "ls", "gs://bucket").code == 2


def test_a_good_configuration_is_said_to_be(cli: Cli) -> None:
    assert cli("config", "check").out == "the configuration is good\n"
    assert cli("config", "check", "--json").json == {"ok": True}


def test_a_typing_error_in_the_configuration_names_the_nearest_key(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[disk]\npaht = "/x"\n')
    for argv in (["config", "check"], ["config", "show"], ["ls"], ["serve"], ["run", "true"]):
        at = 2 if argv[0] == "config" else 1
        said = cli(*argv[:at], "--config", str(file), *argv[at:])
        assert said.code == 2
        assert "disk.path" in said.err


def test_the_configuration_is_shown_with_its_sources_and_no_secret(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    monkeypatch.setenv("CACHEMGR_MODELS", f"{REF} hf://acme/other")
    said = cli("config", "show")
    assert "hf_verysecret" not in said.out + cli("config", "show", "--json").out
    rows = {line.split()[0]: line for line in said.out.splitlines()}
    assert "***" in rows["hub.token"]
    assert rows["hub.token"].endswith("HF_TOKEN")
    assert REF in rows["models"]
    assert rows["disk.high"].split()[1:] == ["80%", "default"]
    assert max(map(len, shown("config", "show").lines)) <= 80
