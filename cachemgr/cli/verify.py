"""`verify`: read again what is sealed, and say what has gone bad."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cachemgr.cli import output
from cachemgr.cli.exits import EXIT_CODES
from cachemgr.cli.follow import Ask, carry_out
from cachemgr.cli.options import Config, Json, MaybeRef, OnTier
from cachemgr.cli.progress import shown
from cachemgr.cli.session import load, session
from cachemgr.cli.text import counted, table

verify_app = typer.Typer(rich_markup_mode=None, add_completion=False)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


@verify_app.command("verify")
def verify(
    ref: MaybeRef = None,
    *,
    tier: OnTier = None,
    quiet: Quiet = False,
    as_json: Json = False,
    config: Config = None,
) -> int:
    """Read models again and compare every file with its seal; exit 4 if one is bad.

    Bad bytes go to quarantine and are never handed out again; the next pull brings only the bad files. With a REF
    (hf://org/name[@revision]): only that one.
    """
    with session(load(config)) as talk, shown(quiet or as_json) as display:
        ask = Ask(ref or "everything", "/v1/verify", {"ref": ref, "tier": tier})
        (ended,) = carry_out(talk.api, [ask], display)
    if ended.failure is not None or ended.result is None:
        return output.fail(ended.failure, as_json) if ended.failure else 1
    bad, read = ended.result["bad"], counted(ended.result["checked"], "file")
    lines = [f"{read} read, {len(bad) or 'none'} bad"]
    if bad:
        rows = [(one["tier"], one["id"], one["file"], one["reason"]) for one in bad]
        lines += table(("TIER", "ID", "FILE", "REASON"), rows, output.width(sys.stdout))
    output.result(ended.result, lines, as_json)
    return EXIT_CODES["verification_failed"] if bad else 0
