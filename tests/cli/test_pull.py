"""`pull` and `promote`: what is asked, what is shown meanwhile, what comes of it, and what an interruption leaves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from cachemgr.client import Api
from cachemgr.domain.errors import NotFound, VerificationFailed
from tests.cli.conftest import Cli
from tests.cli.content import LONG, PATH, REF, arrives, fails, halfway, pulled
from tests.cli.terminal import COMMAND, Terminal, shown
from tests.client.stand_in import World, serving

OTHER = "hf://acme/other@main"


def when(condition: Callable[[], object], then: Callable[[], object]) -> threading.Thread:
    """Do something, from another thread, once it is so."""

    def wait() -> None:
        while not condition():
            time.sleep(0.002)
        then()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_pull_prints_the_directory_and_tells_the_rest_aside(cli: Cli, world: World) -> None:
    world.pulls[REF] = arrives()
    said = cli("pull", "hf://acme/m20")
    assert (said.code, said.out) == (0, PATH + "\n")
    assert "hf://acme/m20: 1.3 GB in 20 files" in said.err
    assert world.calls("prefetch") == [(REF, "volume", (), (), False)]


@pytest.mark.parametrize("command", ["pull", "promote"])
def test_quiet_prints_the_directory_and_nothing_else(cli: Cli, world: World, command: str) -> None:
    world.pulls[REF] = arrives()
    assert cli(command, "-q", REF) == cli(command, REF, "--quiet")
    said = cli(command, "-q", REF)
    assert (said.out, said.err, said.code) == (PATH + "\n", "", 0)


@pytest.mark.parametrize("command", ["pull", "promote"])
def test_json_is_the_value_as_the_api_has_it(cli: Cli, world: World, command: str) -> None:
    world.pulls[REF] = arrives()
    said = cli(command, REF, "--json")
    assert (said.json, said.err, said.code) == (asdict(pulled()), "", 0)


def test_promote_asks_for_the_disk(cli: Cli, world: World) -> None:
    world.pulls[REF] = arrives()
    cli("promote", REF)
    assert world.calls("prefetch") == [(REF, "disk", (), (), False)]


def test_options_arrive(cli: Cli, world: World) -> None:
    world.pulls["hf://acme/m20@v1"] = arrives()
    options = ["--include", "*.json", "--include", "sub/", "--exclude", "*.bin", "--allow-stale", "--revision", "v1"]
    assert cli("pull", "hf://acme/m20", *options, "--tier", "disk").code == 0
    assert world.calls("prefetch") == [("hf://acme/m20@v1", "disk", ("*.json", "sub/"), ("*.bin",), True)]


def test_a_revision_is_given_once(cli: Cli, world: World) -> None:
    said = cli("pull", REF, "--revision", "v1")
    assert said.code == 2
    assert world.asked == []


def test_several_refs_are_a_list_and_the_first_failure_gives_the_code(cli: Cli, world: World) -> None:
    world.pulls[REF] = arrives()
    world.pulls[OTHER] = fails(VerificationFailed("model.safetensors is not what it should be"))
    said = cli("pull", "hf://acme/nowhere", OTHER, REF, "--json")
    assert said.code == 3
    assert [value.get("code") for value in said.json] == ["not_found", "verification_failed", None]
    assert [value["ref"] for value in said.json] == ["hf://acme/nowhere", OTHER, REF]
    plain = cli("pull", OTHER, REF)
    assert (plain.code, plain.out) == (4, PATH + "\n")
    assert "error: model.safetensors is not what it should be" in plain.err


def test_a_failure_keeps_its_numbers_and_hint(cli: Cli, world: World) -> None:
    world.pulls[REF] = fails(NotFound("no such revision", hint="look at the branches", near=["main"]))
    assert cli("pull", REF, "--json").json["near"] == ["main"]
    assert "hint:  look at the branches" in cli("pull", REF).err


def test_what_was_here_already_is_said(cli: Cli, world: World) -> None:
    world.pulls[REF] = arrives(fetched=0)
    assert "1.3 GB in 20 files, was here already" in cli("pull", REF).err


def test_plain_lines_tell_each_change_of_state_once(world: World) -> None:
    world.pulls[REF] = halfway(world)
    world.open.clear()
    command = subprocess.Popen([*COMMAND, "pull", REF], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert command.stderr is not None
    assert command.stderr.readline() == f"{REF}: pulling\n"
    world.open.set()
    _, err = command.communicate(timeout=15)
    lines = [line for line in err.splitlines() if line != f"{REF}: verifying"]  # too short to be seen each time
    assert len(lines) == 1
    assert lines[0].startswith(f"{REF}: 1.3 GB in 20 files")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_cancels_the_transfer(world: World, number: signal.Signals) -> None:
    world.pulls[REF] = halfway(world)
    world.open.clear()
    command = subprocess.Popen([*COMMAND, "pull", REF], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    when(lambda: world.calls("halfway"), lambda: command.send_signal(number)).join()
    out, err = command.communicate(timeout=15)
    assert (command.returncode, out) == (130, b"")
    assert err.splitlines()[-1] == b"interrupted"
    assert world.calls("cancelled") == [(REF,)]


def test_an_interruption_is_json_where_json_was_asked_for(world: World) -> None:
    world.pulls[REF] = halfway(world)
    world.open.clear()
    command = subprocess.Popen([*COMMAND, "pull", REF, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    when(lambda: world.calls("halfway"), lambda: command.send_signal(signal.SIGINT)).join()
    out, err = command.communicate(timeout=15)
    assert (command.returncode, err) == (130, b"")
    assert b'"code": "interrupted"' in out


def test_a_transfer_that_somebody_else_cancels_is_told(cli: Cli, world: World, socket: Path) -> None:
    world.pulls[REF] = halfway(world)
    world.open.clear()

    def cancel() -> None:
        api = Api(str(socket))
        api.call("DELETE", f"/v1/transfers/{api.call('GET', '/v1/transfers')[0]['id']}")

    when(lambda: world.calls("halfway"), cancel)
    said = cli("pull", REF)
    assert said.code == 1
    assert "was cancelled" in said.err


def test_a_daemon_that_stops_meanwhile_is_told(socket: Path) -> None:
    world = World()
    world.pulls[REF] = halfway(world)
    world.open.clear()
    with serving(world, socket):
        command = subprocess.Popen([*COMMAND, "pull", REF], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert command.stderr is not None
        assert command.stderr.readline() == f"{REF}: pulling\n"
    _, err = command.communicate(timeout=15)
    assert command.returncode == 1
    assert any(line.startswith("error: ") for line in err.splitlines())
    assert err.splitlines()[-1].startswith("hint:  start")


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_bars_fit_their_terminal_and_leave_one_line(world: World, columns: int) -> None:
    world.pulls[REF], world.pulls[LONG] = halfway(world), halfway(world, LONG)
    world.open.clear()
    terminal = Terminal("pull", REF, LONG, columns=columns)
    terminal.until("650 MB/1.3 GB")
    world.open.set()
    seen = terminal.end()
    assert seen.code == 0
    assert f"{REF}: 1.3 GB in 20 files" in seen.text
    frames = [part.rstrip() for part in re.split(r"[\r\n]", seen.text) if "━" in part]
    assert frames
    assert max(map(len, frames)) <= columns


def test_an_interruption_in_a_terminal_takes_the_bar_away(world: World) -> None:
    world.pulls[REF] = halfway(world)
    world.open.clear()
    terminal = Terminal("pull", REF)
    terminal.until("650 MB/1.3 GB")
    os.killpg(terminal.process.pid, signal.SIGINT)
    seen = terminal.end()
    assert seen.code == 130
    assert seen.lines[-2] == "interrupted"
    assert world.calls("cancelled") == [(REF,)]


def test_a_failure_in_a_terminal_comes_below_the_bars(world: World) -> None:
    world.pulls[REF] = fails(VerificationFailed("model.safetensors is not what it should be"))
    seen = shown("pull", REF)
    assert seen.code == 4
    assert any(line.endswith("error: model.safetensors is not what it should be") for line in seen.lines)
