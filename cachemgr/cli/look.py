"""`status` and `df`: the daemon on one page, and how full the tiers are."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import typer

from cachemgr.cli import output
from cachemgr.cli.options import Config, Json
from cachemgr.cli.session import load, session
from cachemgr.cli.text import counted, duration, short_ref, size, table
from cachemgr.cli.words import doing, standing

status_app = typer.Typer(rich_markup_mode=None, add_completion=False)
df_app = typer.Typer(rich_markup_mode=None, add_completion=False)

Value = dict[str, Any]  # Any: decoded JSON


@df_app.command("df")
def df(*, as_json: Json = False, config: Config = None) -> None:
    """Show how full the tiers are, and their marks: evict down to LOW, evict above HIGH, refuse above HARD."""
    with session(load(config)) as talk:
        tiers = talk.api.call("GET", "/v1/df")
    output.result(tiers, tiers_table(tiers, output.width(sys.stdout)), as_json)


def tiers_table(tiers: Sequence[Value], columns: int | None) -> list[str]:
    """A table of tiers."""
    headers = ("TIER", "USED", "RESERVED", "FREE", "LOW", "HIGH", "HARD", "KIND", "PATH")
    sizes = ("used_bytes", "reserved_bytes", "free_bytes", "low_bytes", "high_bytes", "hard_bytes")
    rows = [[tier["tier"], *(size(tier[name]) for name in sizes), tier["kind"], tier["path"]] for tier in tiers]
    return table(headers, rows, columns, right="USED RESERVED FREE LOW HIGH HARD")


@status_app.command("status")
def status(*, as_json: Json = False, config: Config = None) -> None:
    """Show the daemon: its tiers, its configured models, and what is under way."""
    with session(load(config)) as talk:
        value = talk.api.call("GET", "/v1/status")
    output.result(value, _page(value, talk.own, output.width(sys.stdout)), as_json)


def _page(value: Value, own: bool, columns: int | None) -> Iterator[str]:
    if own:
        yield "no daemon runs; this is what one would find (start it: `cachemgr serve`)"
    else:
        up, holds = duration(value["uptime_seconds"]), counted(value["holds"], "hold")
        yield f"cachemgr {value['version']} on {value['worker']}, pid {value['pid']}, up {up}, {holds}"
    yield ""
    yield from tiers_table(value["tiers"], columns)
    if value["models"]:
        yield ""
        rows = [[short_ref(one["ref"]), one["state"], one["tier"] or "-", _where(one)] for one in value["models"]]
        yield from table(("MODEL", "STATE", "TIER", "WHERE"), rows, columns)
    moving = [one for one in value["transfers"] if one["state"] in ("queued", "running", "verifying")]
    if moving:
        yield ""
        rows = [[short_ref(one["ref"]), doing(one), _standing(one)] for one in moving]
        yield from table(("TRANSFER", "DOES", "STANDS AT"), rows, columns)


def _where(model: Value) -> str:
    return str(model["error"]["detail"] if model["error"] else model["path"] or "-")


def _standing(view: Value) -> str:
    seconds = float(view["seconds"])
    return standing(view, view["done_bytes"] / seconds if seconds else 0.0)
