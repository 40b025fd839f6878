"""`config check|show`: whether the configuration is good, and where each value came from."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

import typer

from cachemgr.cli import output
from cachemgr.cli.options import Config, Json
from cachemgr.cli.session import load
from cachemgr.cli.text import table

config_app = typer.Typer(rich_markup_mode=None, add_completion=False, help="Check or show the configuration.")


@config_app.command("check")
def check(*, as_json: Json = False, config: Config = None) -> None:
    """Say whether the configuration is good; exit 2 and the reason if it is not."""
    load(config)
    output.result({"ok": True}, ["the configuration is good"], as_json)


@config_app.command("show")
def show(*, as_json: Json = False, config: Config = None) -> None:
    """Show every value and where it came from; secrets as ***."""
    shown = load(config).show()
    rows = [[key, value, source] for key, value, source in _values(shown, "")]
    output.result(shown, table(("KEY", "VALUE", "FROM"), rows, output.width(sys.stdout)), as_json)


def _values(section: Mapping[str, object], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, value in section.items():
        if isinstance(value, Mapping) and value.keys() == {"value", "source", "from"}:
            yield f"{prefix}{name}", _spelled(value["value"]), str(value["from"] or value["source"])
        elif isinstance(value, Mapping):
            yield from _values(value, f"{prefix}{name}.")


def _spelled(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)
