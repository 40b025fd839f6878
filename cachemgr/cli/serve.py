"""`serve` and `run`: the daemon itself, and a command that reads verified models."""

from __future__ import annotations

import typer

from cachemgr import log
from cachemgr.cli.options import Config
from cachemgr.cli.session import load
from cachemgr.daemon import serve_until_signalled

serve_app = typer.Typer(rich_markup_mode=None, add_completion=False)


@serve_app.command("serve")
def serve(*, config: Config = None) -> None:
    """Run this worker's daemon in the foreground until SIGTERM or Ctrl-C; a second one insists.

    Brings the configured models, serves the API on its socket, and metrics and health on the admin port.
    """
    settings = load(config)
    log.configure(settings.log.level, settings.log.format, settings.secrets())
    serve_until_signalled(settings)
