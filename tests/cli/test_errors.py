"""Every error says what happened, what it means and what to do next, and has its exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cachemgr.domain import errors
from tests.cli.conftest import Cli
from tests.cli.terminal import shown
from tests.client.stand_in import World

FULL = errors.NoSpace("the disk is full", needed_bytes=1_300_000_000, free_bytes=900_000_000, evictable_bytes=0)
CODES = [
    (errors.Usage("odd"), 2),
    (errors.NotFound("nowhere"), 3),
    (errors.VerificationFailed("flipped"), 4),
    (FULL, 5),
    (errors.DeadlineExceeded("late"), 6),
    (errors.Unauthorized("gated"), 7),
    (errors.OriginUnavailable("away"), 1),
    (errors.Held("busy"), 1),
    (errors.TierUnavailable("read-only"), 1),
]


@pytest.mark.parametrize(("trouble", "code"), CODES, ids=lambda value: getattr(value, "code", ""))
def test_an_error_of_the_daemon_is_told_in_full(
    cli: Cli, world: World, trouble: errors.CachemgrError, code: int
) -> None:
    world.trouble = trouble
    for argv in (["path", "hf://acme/m20"], ["pull", "hf://acme/m20"], ["rm", "hf://acme/m20"], ["evict"]):
        said = cli(*argv)
        assert (said.code, said.out) == (code, "")
        assert said.err.splitlines()[0] == f"error: {trouble.detail}"
        assert said.err.splitlines()[-1] == f"hint:  {trouble.hint}"
        problem = cli(*argv, "--json")
        assert (problem.code, problem.err) == (code, "")
        told = {name: problem.json[name] for name in ("code", "detail", "hint")}
        assert told == {"code": trouble.code, "detail": trouble.detail, "hint": trouble.hint}


def test_out_of_space_is_told_in_numbers(cli: Cli, world: World) -> None:
    world.trouble = FULL
    assert "Needed 1.3 GB, free 900 MB, could be evicted 0 B." in cli("promote", "hf://acme/m20").err
    assert cli("promote", "hf://acme/m20", "--json").json["needed_bytes"] == 1_300_000_000


def test_a_malformed_ref_is_usage_before_anything_is_asked(cli: Cli, world: World) -> None:
    for argv in (["pull", "hf://a/b@../../x"], ["pin", "hf:///a"], ["rm", "ftp://a/b"], ["pull", "acme/m20"]):
        assert cli(*argv).code == 2
    assert world.asked == []


def test_an_error_fits_its_terminal(world: World) -> None:
    world.trouble = errors.OriginUnavailable("the origin " + "does not answer " * 12)
    seen = shown("path", "hf://acme/m20", columns=60)
    assert seen.code == 1
    assert max(map(len, seen.lines)) <= 60
    assert all(line.startswith("       ") for line in seen.lines[1:4])


def test_a_name_from_outside_does_not_move_the_cursor(cli: Cli, world: World) -> None:
    world.trouble = errors.NotFound("no \x1b[2J\x07 here")
    assert "\x1b" not in cli("path", "hf://acme/m20").err


def test_what_nobody_foresaw_is_told_without_a_trace(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHEMGR_SOCKET", "/" + "x" * 90_000)
    said = cli("ls")
    assert said.code in (1, 2)
    assert "Traceback" not in said.err
    assert "x" * 1000 not in said.err


def test_a_reader_that_leaves_early_is_no_error(socket: Path, world: World) -> None:
    command = f"{sys.executable} -m cachemgr config show | true"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.returncode in (0, 141)
