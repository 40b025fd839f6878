"""`status` and `df`: the daemon on one page, and how full the tiers are."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import typer

from cachemgr.cli import output
from cachemgr.cli.options import Config, Json
from cachemgr.cli.session import load, session
from cachemgr.cli.text import counted, duration, folded, short_ref, size, speed, table
from cachemgr.cli.words import doing

status_app = typer.Typer(rich_markup_mode=None, add_completion=False)
df_app = typer.Typer(rich_markup_mode=None, add_completion=False)

_WIDE = 100

Value = dict[str, Any]  # Any: decoded JSON


@df_app.command("df")
def df(*, as_json: Json = False, config: Config = None) -> None:
    """Show how full the tiers are, and their marks: evict down to LOW, evict above HIGH, refuse above HARD."""
    with session(load(config)) as talk:
        tiers = talk.api.call("GET", "/v1/df")
    output.result(tiers, tiers_table(tiers, output.width(sys.stdout)), as_json)


def tiers_table(tiers: Sequence[Value], columns: int | None) -> list[str]:
    """A table of tiers."""
    sizes = ("used", "reserved", "free", "low", "high", "hard")
    rest = ("kind", "path") if columns is None or columns >= _WIDE else ("path",)
    rows = [
        [one["tier"], *(size(one[f"{name}_bytes"]) for name in sizes), *(one[name] for name in rest)] for one in tiers
    ]
    return table([name.upper() for name in ("tier", *sizes, *rest)], rows, columns, right=" ".join(sizes).upper())


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
        rows = [
            [short_ref(one["ref"]), one["state"], one["tier"] or "-", one["path"] or "-"] for one in value["models"]
        ]
        yield from table(("MODEL", "STATE", "TIER", "WHERE"), rows, columns)
        yield from (
            folded(f"  {one['ref']}: ", one["error"]["detail"], columns) for one in value["models"] if one["error"]
        )
    moving = [one for one in value["transfers"] if one["state"] in ("queued", "running", "verifying")]
    if moving:
        yield ""
        headers = ("TRANSFER", "DOES", "DONE", "OF", "FILES", "SPEED", "LEFT")
        yield from table(headers, [_transfer(one) for one in moving], columns, right="DONE OF FILES SPEED LEFT")


def _transfer(view: Value) -> list[str]:
    done, total, seconds = int(view["done_bytes"]), view["total_bytes"], float(view["seconds"])
    rate = done / seconds if seconds else 0.0
    files = f"{view['files_done']}/{view['files']}" if view["files"] else "-"
    left = duration((total - done) / rate) if total and rate else "-"
    part = f"{100 * done // total} %" if total else "-"
    return [short_ref(view["ref"]), doing(view), part, size(total), files, speed(rate) if rate else "-", left]
