"""`evict` and `rm`: take models away, after saying what would go."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from cachemgr.cli import address, output
from cachemgr.cli.options import Config, DryRun, Json, MaybeRef, OnTier, Refs, TierName, Yes, byte_count
from cachemgr.cli.session import load, session
from cachemgr.cli.text import size
from cachemgr.client import Api, CacheError, Usage

evict_app = typer.Typer(rich_markup_mode=None, add_completion=False)
rm_app = typer.Typer(rich_markup_mode=None, add_completion=False)

REMOVE_SECONDS = 600.0

Removed = dict[str, Any]  # Any: a Removed as JSON

Bytes = Annotated[
    str | None, typer.Option("--bytes", metavar="SIZE", help="At least so much: 20GB. Default: to `low`.")
]
From = Annotated[TierName, typer.Option("--tier", metavar="TIER", help="Where from.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the ids that went.")]


@evict_app.command("evict")
def evict(
    ref: MaybeRef = None,
    *,
    size_wanted: Bytes = None,
    tier: From = "disk",
    dry_run: DryRun = False,
    yes: Yes = False,
    quiet: Quiet = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Make room on the disk: whole models, the least recently used first; never one that is held or pinned.

    What is on the volume stays there. With a REF (hf://org/name[@revision]): that one.
    """
    if ref is not None and size_wanted is not None:
        raise Usage("either a REF or --bytes", "without a REF the least recently used go until there is room")
    body = {"tier": tier, "ref": ref, "bytes": byte_count(size_wanted, "--bytes")}
    with session(load(config)) as talk:

        def act(dry: bool) -> Removed:
            removed: Removed = talk.api.call("POST", "/v1/evict", {**body, "dry_run": dry}, REMOVE_SECONDS)
            return removed

        removed = _asked_first(act, dry_run, yes)
    _tell([removed], removed, quiet, as_json)


@rm_app.command("rm")
def rm(
    refs: Refs,
    *,
    tier: OnTier = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    quiet: Quiet = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Remove models from every tier, or from one; never one that is held or pinned.

    REF: hf://org/name[@revision], or an id as `ls -q` prints it.
    """
    with session(load(config)) as talk:
        removed = [_asked_first(_remover(talk.api, ref, tier), dry_run, yes) for ref in refs]
    _tell(removed, removed[0] if len(removed) == 1 else removed, quiet, as_json)


def _remover(api: Api, ref: str, tier: str | None) -> Callable[[bool], Removed]:
    def act(dry: bool) -> Removed:
        removed: Removed = api.call("DELETE", address.model(ref, tier=tier, dry_run=dry), timeout=REMOVE_SECONDS)
        return removed

    return act


def _asked_first(act: Callable[[bool], Removed], dry_run: bool, yes: bool) -> Removed:
    """Do it; in a terminal only after showing what would go and being told to go on."""
    if dry_run or yes or not sys.stdin.isatty():
        return act(dry_run)
    planned = act(True)
    if not planned["ids"]:
        return act(False)
    for line in _lines(planned):
        output.note(line)
    if not typer.confirm("Go on?", err=True):
        raise CacheError("not confirmed: nothing was removed", "-y removes without asking", "declined")
    return act(False)


def _tell(removed: list[Removed], value: object, quiet: bool, as_json: bool) -> None:
    lines = [line for one in removed for line in (one["ids"] if quiet else _lines(one))]
    output.result(value, lines, as_json)


def _lines(removed: Removed) -> list[str]:
    where = "every tier" if removed["tier"] == "all" else f"the {removed['tier']}"
    if not removed["ids"]:
        freed = f", {size(removed['freed_bytes'])} were left over and are free now" if removed["freed_bytes"] else ""
        return [f"no model had to leave {where}{freed}"]
    verb, frees = ("would leave", "this frees") if removed["dry_run"] else ("left", "this freed")
    return [*(f"{id} {verb} {where}" for id in removed["ids"]), f"{frees} {size(removed['freed_bytes'])}"]
