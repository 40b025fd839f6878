"""`ckpt push|ls|pull`: checkpoints in a bucket."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cachemgr.cli import address, output
from cachemgr.cli.follow import Ask, carry_out
from cachemgr.cli.options import Config, Json
from cachemgr.cli.progress import shown
from cachemgr.cli.session import load, session
from cachemgr.cli.text import ago, size, table

ckpt_app = typer.Typer(rich_markup_mode=None, add_completion=False, help="Push, list and pull checkpoints in a bucket.")

Bucket = Annotated[str, typer.Argument(metavar="S3_URL", hidden=True)]
Directory = Annotated[Path, typer.Argument(metavar="DIR", hidden=True)]
NewName = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Default: the directory's own name.")]
Name = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Default: the latest.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Names = Annotated[bool, typer.Option("--quiet", "-q", help="Only the names.")]


@ckpt_app.command("push", short_help="Publish a checkpoint.")
def push(
    directory: Directory,
    to: Bucket,
    *,
    name: NewName = None,
    quiet: Quiet = False,
    as_json: Json = False,
    config: Config = None,
) -> int:
    """Publish a checkpoint: all of its files, then its manifest; until then nobody sees any of it.

    DIR: its directory, or one file. S3_URL: s3://bucket/run
    """
    body = {"directory": str(directory.absolute()), "to": to, "name": name}
    return _transfer(to, "/v1/checkpoints/push", body, quiet=quiet, as_json=as_json, config=config)


@ckpt_app.command("pull", short_help="Restore a checkpoint into a directory.")
def pull(
    source: Bucket,
    directory: Directory,
    *,
    name: Name = None,
    quiet: Quiet = False,
    as_json: Json = False,
    config: Config = None,
) -> int:
    """Restore a checkpoint, every byte verified, into DIR/<name>; the latest if no --name is given.

    S3_URL: s3://bucket/run
    """
    body = {"source": source, "directory": str(directory.absolute()), "name": name}
    return _transfer(source, "/v1/checkpoints/pull", body, quiet=quiet, as_json=as_json, config=config)


@ckpt_app.command("ls", short_help="List the published checkpoints.")
def ls(source: Bucket, *, quiet: Names = False, as_json: Json = False, config: Config = None) -> None:
    """List the published checkpoints, the newest first.

    S3_URL: s3://bucket/run
    """
    with session(load(config)) as talk:
        found = talk.api.call("GET", "/v1/checkpoints" + address.questions(at=source), timeout=120.0)
    if not found and not as_json:
        output.note(f"no checkpoints at {source}")
    headers = ("NAME", "SEQ", "STEP", "SIZE", "FILES", "PUBLISHED", "")
    rows = table(headers, [_row(one) for one in found], output.width(sys.stdout), right="SEQ STEP SIZE FILES")
    output.result(found, [one["name"] for one in found] if quiet else rows if found else [], as_json)


def _transfer(
    ref: str, path: str, body: Mapping[str, object], *, quiet: bool, as_json: bool, config: Path | None
) -> int:
    with session(load(config)) as talk, shown(quiet or as_json) as display:
        (ended,) = carry_out(talk.api, [Ask(ref, path, body)], display)
    if ended.failure is not None:
        return output.fail(ended.failure, as_json)
    result = ended.result or {}
    output.result(result, [str(result.get("path") or result.get("name"))], as_json)
    return 0


def _row(one: dict[str, Any]) -> list[str]:  # Any: a listed checkpoint as JSON
    step = "-" if one["step"] is None else str(one["step"])
    latest = "latest" if one["latest"] else ""
    return [one["name"], str(one["seq"]), step, size(one["bytes"]), str(one["files"]), ago(one["published_at"]), latest]
