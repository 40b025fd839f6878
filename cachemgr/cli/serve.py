"""`serve` and `run -- CMD`: the daemon itself, and a program on verified models."""

from __future__ import annotations

from typing import Annotated

import typer

from cachemgr import log
from cachemgr.cli.options import Config
from cachemgr.cli.session import load
from cachemgr.daemon import serve_until_signalled
from cachemgr.running import run_command

serve_app = typer.Typer(rich_markup_mode=None, add_completion=False)
run_app = typer.Typer(rich_markup_mode=None, add_completion=False)

_Argv = Annotated[list[str], typer.Argument(metavar="CMD", hidden=True)]
_NoWait = Annotated[bool, typer.Option("--no-wait", help="Start CMD at once, with its own environment.")]
_Online = Annotated[bool, typer.Option("--online", help="Let CMD's hub library ask the hub, too.")]


@serve_app.command("serve")
def serve(*, config: Config = None) -> None:
    """Run this worker's daemon in the foreground until SIGTERM or Ctrl-C; a second one insists.

    Brings the configured models, serves the API on its socket, and metrics and health on the admin port.
    """
    settings = load(config)
    log.configure(settings.log.level, settings.log.format, settings.secrets())
    serve_until_signalled(settings)


@run_app.command("run", context_settings={"allow_interspersed_args": False})
def run(argv: _Argv, *, no_wait: _NoWait = False, online: _Online = False, config: Config = None) -> int:
    """Wait for the configured models, run CMD on the verified copies, exit with its exit code.

    CMD's hub library is pointed at the fastest tier that has all models, which stay there until CMD ends. If they are
    not ready within run.wait_timeout, CMD starts with its own environment, and one log line says so.

    CMD: the program and its arguments, after `--`.
    """
    settings = load(config)
    log.configure(settings.log.level, settings.log.format, settings.secrets())
    return run_command(settings, argv, wait=not no_wait, online=online)
