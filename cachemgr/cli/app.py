"""The root of the command line: which commands there are, and what becomes of their errors."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

import cachemgr

# Command: (module below cachemgr.cli, what it does in a few words). The order is that of a model's life.
COMMANDS = {
    "serve": ("serve", "Run this worker's daemon: API, metrics, configured models."),
    "run": ("serve", "Wait for the models, run a command on them: run -- CMD."),
    "pull": ("pull", "Bring models to the volume, every byte verified."),
    "promote": ("pull", "Bring models to the container disk."),
    "path": ("find", "Print the directory of a model that is here."),
    "wait": ("find", "Wait until the configured models are ready."),
    "ls": ("find", "List the models that are here."),
    "status": ("look", "Show the daemon, its models and transfers."),
    "df": ("look", "Show how full the tiers are."),
    "pin": ("keep", "Protect a model from eviction and removal."),
    "unpin": ("keep", "End that protection."),
    "evict": ("remove", "Make room on the disk, least recently used first."),
    "rm": ("remove", "Remove models."),
    "verify": ("verify", "Read everything again and compare it with its seal."),
    "ckpt": ("ckpt", "Push, list and pull checkpoints in a bucket."),
    "config": ("config", "Check or show the configuration."),
}

_HEAD = """\
Usage: cachemgr COMMAND [OPTIONS]

The right model bytes on this worker, verified, before anyone waits for them.
"""
_FOOT = """
`cachemgr COMMAND --help` explains one. --json, --config FILE: everywhere.
"""


class Root(TyperGroup):
    """Knows all commands by name and loads the module of the one that is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:  # Any: the library's own context, which it does not publish
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # Any: a command of the library's unpublished parser
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"cachemgr.cli.{COMMANDS[cmd_name][0]}")
        app: typer.Typer = getattr(module, cmd_name.replace("-", "_") + "_app")
        return typer.main.get_command(app)

    def format_help(self, ctx: Any, formatter: Any) -> None:  # Any: as above
        lines = [f"  {name:<9} {what}" for name, (_, what) in COMMANDS.items()]
        formatter.write("\n".join([_HEAD, *lines, _FOOT]).rstrip("\n") + "\n")


root = typer.Typer(cls=Root, add_completion=False, rich_markup_mode=None, name="cachemgr")


@root.callback(invoke_without_command=True)
def _root(ctx: typer.Context, version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        print(f"cachemgr {cachemgr.__version__}")
    elif ctx.invoked_subcommand is None:
        print(ctx.get_help())


def main() -> None:
    """The program: run what was typed and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Run one command line; return its exit code. Nothing is raised: errors are told."""
    as_json = "--json" in (argv[: argv.index("--")] if "--" in argv else argv)
    if sys.platform == "win32":
        print("cachemgr does not run on Windows: use WSL", file=sys.stderr)
        return 1
    try:
        code = typer.main.get_command(root)(args=list(argv), prog_name="cachemgr", standalone_mode=False)
        error: BaseException | None = KeyboardInterrupt() if code == 130 else None
    except BaseException as exc:  # noqa: BLE001 - the one boundary of the program
        code, error = 0, exc
    if error is None:
        return int(code or 0)
    # A command line that is right needs no words for errors, and loads none.
    return int(importlib.import_module("cachemgr.cli.trouble").tell(error, as_json))
