"""`path`, `wait` and `ls`: what is here is found, what is not is exit 3, what is late is exit 6."""

from __future__ import annotations

import subprocess
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cachemgr.library.answers import ModelState, Status
from tests.cli.conftest import Cli
from tests.cli.content import COMMIT, LONG, PATH, REF, TIERS, TOTAL, answer, listed
from tests.cli.terminal import COMMAND, shown
from tests.client.stand_in import World, serving

OTHER = "hf://acme/other@main"


def status(*models: ModelState) -> Status:
    return Status("1.2.3", 7, "pod-abc", "2026-11-24T13:00:00.000Z", 7800.0, tuple(TIERS), models, (), 2)


def state(phase: str, ref: str = REF, code: str | None = None) -> ModelState:
    error = None if code is None else {"code": code, "detail": f"{ref} is {code}", "hint": "do something"}
    return ModelState(ref, phase, "disk", PATH, error)  # type: ignore[arg-type]  # a phase that the test names


def test_path_prints_the_directory_and_nothing_else(cli: Cli, world: World) -> None:
    world.answers[REF] = answer()
    for argv in (["path", "hf://acme/m20"], ["path", "-q", REF]):
        assert cli(*argv) == cli("path", REF)
    said = cli("path", REF)
    assert (said.out, said.err, said.code) == (PATH + "\n", "", 0)
    assert world.calls("acquire")[0] == (REF, 0.0, 0.0, "any")


def test_what_is_not_here_is_exit_3(cli: Cli, world: World) -> None:
    said = cli("path", REF)
    assert (said.code, said.out) == (3, "")
    assert "cachemgr pull" in said.err
    world.answers[REF] = answer()
    assert cli("path", "--tier", "disk", REF).code == 3
    assert cli("path", "--tier", "volume", REF).code == 0


def test_path_as_json_has_what_pull_has(cli: Cli, world: World) -> None:
    world.answers[REF], world.listed = answer(), [listed()]
    value = cli("path", REF, "--json").json
    assert value.pop("seconds") < 5
    assert value == {
        "ref": REF,
        "id": listed().id,
        "revision": COMMIT,
        "path": PATH,
        "tier": "volume",
        "bytes": TOTAL,
        "files": 20,
        "fetched_bytes": 0,
        "reused_bytes": TOTAL,
        "resolved_at": "2026-11-24T13:00:00.000Z",
        "stale": False,
    }


def test_path_can_hold(cli: Cli, world: World) -> None:
    world.answers[REF], world.listed = answer(), [listed()]
    assert cli("path", REF, "--hold", "10m").out == PATH + "\n"
    assert world.calls("acquire")[0] == (REF, 0.0, 600.0, "any")
    assert cli("path", REF, "--hold", "10m", "--json").json["hold"] in world.holds
    assert cli("path", REF, "--hold", "10").code == 2


def test_ls_lists_in_a_table_that_fits(world: World) -> None:
    world.listed = [
        listed(tier="disk", days=0.001, held=True, pinned=True),
        listed(LONG, days=30, adopted=True),
        replace(listed("hf://gpt2@main", days=None), bytes=548_000_000),
    ]
    for columns in (80, 120):
        seen = shown("ls", columns=columns)
        assert max(map(len, seen.lines)) <= columns
        assert len(seen.lines) == 5  # the last one is empty
    assert seen.lines[0].split() == ["REF", "REVISION", "TIER", "SIZE", "FILES", "USED", "NOTES"]
    assert seen.lines[1].split() == [REF, COMMIT[:8], "disk", "1.3", "GB", "20", "1", "min", "ago", "held", "pinned"]
    assert seen.lines[3].split()[-3:] == ["MB", "20", "never"]


def test_ls_is_whole_in_a_pipe_and_exact_in_json(cli: Cli, world: World) -> None:
    world.listed = [listed(LONG)]
    assert LONG in cli("ls").out
    assert cli("ls", "-q").out == listed(LONG).id + "\n"
    assert cli("ls", "--json").json == [asdict(world.listed[0])]


def test_nothing_here_is_no_error(cli: Cli, world: World) -> None:
    assert (cli("ls").code, cli("ls").out) == (0, "")
    assert "no models here" in cli("ls").err
    assert cli("ls", "--json").json == []
    assert cli("ls", "-q") == cli("ls", "-q", "--tier", "disk")


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["accessed>7d"], ["old", "never"]),
        (["accessed<=7d"], ["new"]),
        (["size>=2GB"], ["old"]),
        (["size<2GB", "accessed>7d"], ["never"]),
        (["tier=disk"], ["new"]),
        (["tier!=disk"], ["old", "never"]),
        (["pinned"], ["old"]),
        (["pinned=no"], ["new", "never"]),
        (["held!=no"], []),
        (["ref=hf://acme/new@main"], ["new"]),
        (["files>20"], []),
        ([" size > 1GB "], ["new", "old", "never"]),
    ],
)
def test_filters_narrow_what_is_listed(cli: Cli, world: World, filters: list[str], found: list[str]) -> None:
    world.listed = [
        listed("hf://acme/new@main", "disk", 1),
        listed("hf://acme/old@main", days=30, bytes=2 * 10**9, pinned=True),
        listed("hf://acme/never@main", days=None),
    ]
    argv = [part for text in filters for part in ("-f", text)]
    assert [row["ref"] for row in cli("ls", *argv, "--json").json] == [f"hf://acme/{name}@main" for name in found]


@pytest.mark.parametrize(
    "text", ["", "size", "size>much", "age>7d", "accessed>7", "tier>disk", "pinned=maybe", "files>x"]
)
def test_a_filter_that_is_none_is_usage(cli: Cli, world: World, text: str) -> None:
    world.listed = [listed()]
    assert cli("ls", "--filter", text).code == 2


def test_wait_ends_when_all_are_ready(cli: Cli, world: World) -> None:
    world.status = status(state("pulling"), state("ready", OTHER))

    def comes() -> None:
        time.sleep(0.3)
        world.status = status(state("ready"), state("ready", OTHER))

    coming = threading.Thread(target=comes)
    coming.start()
    said = cli("wait", "--timeout", "10s")
    coming.join()
    assert (said.code, said.out.splitlines()) == (0, [f"{REF} is ready on the disk", f"{OTHER} is ready on the disk"])
    assert [model["state"] for model in cli("wait", "--json").json] == ["ready", "ready"]


def test_wait_for_some_does_not_wait_for_the_others(cli: Cli, world: World) -> None:
    world.status = status(state("pulling"), state("ready", OTHER))
    assert cli("wait", "hf://acme/other").code == 0
    assert cli("wait", "hf://acme/unknown").code == 3
    assert cli("wait", "acme/unknown").code == 2


def test_wait_gives_up_in_time_and_says_on_what(cli: Cli, world: World) -> None:
    world.status = status(state("pulling"), state("failed", OTHER, "origin_unavailable"))
    said = cli("wait", "--timeout", "300ms")
    assert said.code == 6
    assert f"{REF} pulling" in said.err
    assert f"{OTHER} failed ({OTHER} is origin_unavailable)" in said.err
    assert cli("wait", "--timeout", "0", "--json").json["code"] == "timeout"


@pytest.mark.parametrize(("code", "exit_code"), [("not_found", 3), ("unauthorized", 7), ("no_space", 5)])
def test_what_waiting_cannot_heal_ends_the_wait(cli: Cli, world: World, code: str, exit_code: int) -> None:
    world.status = status(state("pulling"), state("failed", OTHER, code))
    assert cli("wait").code == exit_code
    assert cli("wait", "--json").json["code"] == code


def test_wait_starts_no_daemon_but_waits_for_one(socket: Path) -> None:
    world = World(status=status(state("ready")))
    waiting = subprocess.Popen([*COMMAND, "wait", "--timeout", "15s"], stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    with serving(world, socket):
        assert waiting.communicate(timeout=15)[0] == f"{REF} is ready on the disk\n"


def test_wait_without_a_daemon_says_so(cli: Cli, socket: Path) -> None:
    said = cli("wait", "--timeout", "0")
    assert said.code == 6
    assert str(socket) in said.err
    assert "cachemgr serve" in said.err
