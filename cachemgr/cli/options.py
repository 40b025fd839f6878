"""The options that several commands have, each with one meaning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer

from cachemgr.client import Usage
from cachemgr.domain.errors import CachemgrError
from cachemgr.domain.quantity import parse_duration, parse_size

N = TypeVar("N", int, float)

TierName = Literal["disk", "volume"]

Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Configuration file.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON value on stdout, errors too.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; only the directory.")]
OnTier = Annotated[TierName | None, typer.Option("--tier", metavar="TIER", help="disk or volume.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would go, remove nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
# Hidden from the list of arguments, which would say what Python calls their types: each command explains its own.
OneRef = Annotated[str, typer.Argument(metavar="REF", hidden=True)]
Refs = Annotated[list[str], typer.Argument(metavar="REF", hidden=True)]
MaybeRef = Annotated[str | None, typer.Argument(metavar="REF", hidden=True)]
MaybeRefs = Annotated[list[str] | None, typer.Argument(metavar="REF", hidden=True)]


def seconds(text: str | None, option: str) -> float | None:
    """An option's `30s` or `5m` in seconds; raises Usage."""
    return None if text is None else _read(parse_duration, text, option)


def byte_count(text: str | None, option: str) -> int | None:
    """An option's `80GiB` in bytes; raises Usage."""
    return None if text is None else _read(parse_size, text, option)


def _read(parse: Callable[[str], N], text: str, option: str) -> N:
    try:
        return parse(text)
    except CachemgrError as error:
        raise Usage(f"{option}: {error.detail}", error.hint) from None
