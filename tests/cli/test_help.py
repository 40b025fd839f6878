"""The first thing that a person types is answered at once, and fits the screen."""

from __future__ import annotations

import subprocess
import sys

import pytest

import cachemgr
from cachemgr.cli.app import COMMANDS
from tests.cli.conftest import Cli
from tests.cli.terminal import shown

EVERYWHERE = [
    *(name for name in COMMANDS if name not in ("serve", "run", "ckpt", "config")),
    *("ckpt push", "ckpt ls", "ckpt pull", "config check", "config show"),
]


@pytest.mark.parametrize("argv", [(), ("--help",)], ids=["nothing", "help"])
def test_help_fits_the_smallest_screen_and_names_every_command(cli: Cli, argv: tuple[str, ...]) -> None:
    said = cli(*argv)
    assert said.code == 0
    lines = said.out.splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(COMMANDS)


@pytest.mark.parametrize("name", [*EVERYWHERE, "serve", "run", "ckpt", "config"])
def test_the_help_of_every_command_fits_the_smallest_screen(name: str) -> None:
    seen = shown(*name.split(), "--help")
    assert seen.code == 0
    assert len(seen.lines) <= 25
    assert max(map(len, seen.lines)) <= 80


@pytest.mark.parametrize("name", EVERYWHERE)
def test_every_command_can_answer_in_json_and_take_a_configuration(cli: Cli, name: str) -> None:
    said = cli(*name.split(), "--help")
    assert "--json" in said.out
    assert "--config FILE" in said.out


def test_help_loads_nothing_that_takes_long() -> None:
    code = (
        "import sys; from cachemgr.cli.app import run; run(['--help']); "
        "slow = ('asyncio', 'aiohttp', 'pydantic', 'rich', 'structlog', 'huggingface_hub'); "
        "print([name for name in slow if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_command_does_not_load_the_daemon_where_one_runs() -> None:
    modules = ["find", "pull", "remove", "keep", "look", "verify", "ckpt", "config"]
    code = (
        f"import importlib, sys; [importlib.import_module('cachemgr.cli.' + m) for m in {modules}]; "
        "print([m for m in ('aiohttp', 'cachemgr.daemon', 'rich.progress', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_it_knows_its_version(cli: Cli) -> None:
    assert cli("--version").out == f"cachemgr {cachemgr.__version__}\n"


def test_a_typing_error_is_answered_with_the_next_step(cli: Cli) -> None:
    said = cli("pul", "hf://acme/m20")
    assert (said.code, said.out) == (2, "")
    assert "pul" in said.err
    assert "`cachemgr --help`" in said.err


def test_a_wrong_option_is_json_where_json_was_asked_for(cli: Cli) -> None:
    said = cli("ls", "--json", "--colour")
    assert said.code == 2
    assert said.json["code"] == "usage"
    assert said.json["hint"] == "see `cachemgr ls --help`"
    assert said.err == ""
