"""`pull` and `promote`: bring models to a tier, and watch them come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from cachemgr.cli import output
from cachemgr.cli.follow import Ask, Ended, carry_out
from cachemgr.cli.options import Config, Json, Quiet, Refs, TierName
from cachemgr.cli.progress import shown
from cachemgr.cli.session import load, session
from cachemgr.client import Usage
from cachemgr.domain.ref import Ref

pull_app = typer.Typer(rich_markup_mode=None, add_completion=False)
promote_app = typer.Typer(rich_markup_mode=None, add_completion=False)

Include = Annotated[list[str] | None, typer.Option("--include", metavar="GLOB", help="Only files like this; repeat.")]
Exclude = Annotated[list[str] | None, typer.Option("--exclude", metavar="GLOB", help="No files like this; repeat.")]
Revision = Annotated[str | None, typer.Option("--revision", metavar="REV", help="Branch, tag or commit; default main.")]
AllowStale = Annotated[
    bool, typer.Option("--allow-stale", help="With the origin away, the newest verified copy will do.")
]
Onto = Annotated[TierName, typer.Option("--tier", metavar="TIER", help="Where to: volume or disk.")]


@pull_app.command("pull")
def pull(
    refs: Refs,
    *,
    revision: Revision = None,
    include: Include = None,
    exclude: Exclude = None,
    allow_stale: AllowStale = False,
    tier: Onto = "volume",
    quiet: Quiet = False,
    as_json: Json = False,
    config: Config = None,
) -> int:
    """Bring models from their origin to the volume, every byte verified.

    Prints each model's directory. Without a volume the model goes to the disk. With --json: an object, of several
    REFs a list.

    REF: hf://org/name[@revision][/path]
    """
    asked = [_at(ref, revision) for ref in refs]
    body = {"tier": tier, "include": include or [], "exclude": exclude or [], "allow_stale": allow_stale}
    with session(load(config)) as talk, shown(quiet or as_json) as display:
        asks = [Ask(ref, "/v1/models/prefetch", {**body, "ref": ref}) for ref in asked]
        ended = carry_out(talk.api, asks, display)
    return told(ended, as_json)


@promote_app.command("promote")
def promote(refs: Refs, quiet: Quiet = False, as_json: Json = False, config: Config = None) -> int:
    """Bring models to the container disk, verified again on the way; print each one's directory there.

    REF: hf://org/name[@revision][/path]
    """
    with session(load(config)) as talk, shown(quiet or as_json) as display:
        asks = [Ask(ref, "/v1/models/prefetch", {"ref": ref, "tier": "disk"}) for ref in refs]
        ended = carry_out(talk.api, asks, display)
    return told(ended, as_json)


def told(ended: Sequence[Ended], as_json: bool) -> int:
    """Say what came of it: of one the value itself, of several a list; the first failure gives the exit code."""
    values = [one.result if one.failure is None else {"ref": one.ref, **one.failure.document()} for one in ended]
    failures = [one.failure for one in ended if one.failure is not None]
    lines = [str(one.result["path"]) for one in ended if one.result and "path" in one.result]
    output.result(values[0] if len(values) == 1 else values, lines, as_json)
    for failure in failures:
        if not as_json:
            output.fail(failure, as_json=False)
    return failures[0].exit_code if failures else 0


def _at(ref: str, revision: str | None) -> str:
    parsed = Ref.parse(ref)
    if revision is None:
        return ref
    if "@" in ref:
        raise Usage(f"{ref} names a revision already", "give it once: in the ref, or with --revision")
    return str(parsed.at(revision))
