"""`pin` and `unpin`: an operator's protection, without a deadline."""

from __future__ import annotations

import sys

import typer

from cachemgr.cli import address, output
from cachemgr.cli.find import listing
from cachemgr.cli.options import Config, Json, OneRef, OnTier
from cachemgr.cli.session import load, session

pin_app = typer.Typer(rich_markup_mode=None, add_completion=False)
unpin_app = typer.Typer(rich_markup_mode=None, add_completion=False)


@pin_app.command("pin")
def pin(ref: OneRef, *, tier: OnTier = None, as_json: Json = False, config: Config = None) -> None:
    """Protect a model from eviction and removal until `unpin`.

    Binds today's revision: when the ref moves on, the pin stays with what it named.

    REF: hf://org/name[@revision], or an id as `ls -q` prints it.
    """
    with session(load(config)) as talk:
        rows = talk.api.call("PUT", address.model(ref, "/pin", tier=tier))
    output.result(rows, listing(rows, output.width(sys.stdout)), as_json)


@unpin_app.command("unpin")
def unpin(ref: OneRef, *, tier: OnTier = None, as_json: Json = False, config: Config = None) -> None:
    """End the protection that `pin` gave.

    REF: hf://org/name[@revision], or an id as `ls -q` prints it.
    """
    with session(load(config)) as talk:
        rows = talk.api.call("DELETE", address.model(ref, "/pin", tier=tier))
    output.result(rows, listing(rows, output.width(sys.stdout)), as_json)
