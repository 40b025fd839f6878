"""`path`, `wait` and `ls`: what is here, and where."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from cachemgr.cli import address, output, readiness
from cachemgr.cli.exits import Failure
from cachemgr.cli.filters import matching
from cachemgr.cli.options import Config, Json, MaybeRefs, OneRef, OnTier, seconds
from cachemgr.cli.session import Session, load, session
from cachemgr.cli.text import ago, short_ref, size, table
from cachemgr.client import Api, CacheError, DeadlineExceeded, NotFound, Usage
from cachemgr.domain.ref import Ref

path_app = typer.Typer(rich_markup_mode=None, add_completion=False)
wait_app = typer.Typer(rich_markup_mode=None, add_completion=False)
ls_app = typer.Typer(rich_markup_mode=None, add_completion=False)

Hold = Annotated[str | None, typer.Option("--hold", metavar="TIME", help="Protect it from eviction for so long: 10m.")]
Timeout = Annotated[str, typer.Option("--timeout", metavar="TIME", help="Give up (exit 6) after so long.")]
Filters = Annotated[list[str] | None, typer.Option("--filter", "-f", metavar="F", help='"accessed>7d"; repeat.')]
Ids = Annotated[bool, typer.Option("--quiet", "-q", help="Only the ids.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing but the directory, as without it.")]


@path_app.command("path")
def path(
    ref: OneRef,
    *,
    tier: OnTier = None,
    hold: Hold = None,
    quiet: Quiet = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Print the directory of a model that is here, and nothing else; exit 3 if it is not.

    Counts as a use. Waits for nothing and fetches nothing.

    REF: hf://org/name[@revision][/path]
    """
    hold_seconds = seconds(hold, "--hold") or 0.0
    with session(load(config)) as talk:
        if hold_seconds and talk.own:
            raise Usage(
                "--hold needs a daemon that stays", "start `cachemgr serve`, or use cachemgr.client in the reader"
            )
        began = time.monotonic()
        body = {"ref": ref, "tier": tier or "any", "wait": False, "hold_seconds": hold_seconds}
        answer = talk.api.call("POST", "/v1/models/acquire", body)
        value = _with_sizes(talk, answer, time.monotonic() - began) if as_json else answer
    output.result(value, [answer["path"]], as_json)


def _with_sizes(talk: Session, answer: dict[str, Any], spent: float) -> dict[str, Any]:  # Any: an Answer as JSON
    """The value that `pull` and `promote` give, too: nothing was fetched, all of it was here."""
    rows = talk.api.call("GET", address.model(answer["id"], tier=answer["tier"]))
    value = {name: answer[name] for name in ("ref", "id", "revision", "path", "tier")}
    value |= {"bytes": rows[0]["bytes"], "files": rows[0]["files"], "fetched_bytes": 0}
    value |= {"reused_bytes": rows[0]["bytes"], "seconds": round(spent, 3)}
    value |= {name: answer[name] for name in ("resolved_at", "stale")}
    return value | ({"hold": answer["hold"], "expires_at": answer["expires_at"]} if answer["hold"] else {})


@wait_app.command("wait")
def wait(refs: MaybeRefs = None, *, timeout: Timeout = "5m", as_json: Json = False, config: Config = None) -> int:
    """Wait until the daemon is there and the configured models are ready; exit 6 if that takes too long.

    With REFs: only until these are. What waiting cannot heal ends it at once, with its own exit code.
    """
    api = Api(str(load(config).api.socket))
    wanted = {str(Ref.parse(ref)) for ref in refs or ()}
    ends = time.monotonic() + (seconds(timeout, "--timeout") or 0.0)
    while True:
        listed = readiness.states(api)
        if listed is not None:
            listed = _wanted(listed, wanted)
            if readiness.ready(listed):
                output.result(listed, [f"{state['ref']} is ready on the {state['tier']}" for state in listed], as_json)
                return 0
            if failed := readiness.hopeless(listed):
                return output.fail(Failure.told(failed["error"]), as_json)
        if time.monotonic() >= ends:
            raise _too_late(listed, timeout, api.socket_path)
        time.sleep(readiness.POLL_SECONDS)


def _wanted(listed: Sequence[readiness.State], wanted: set[str]) -> list[readiness.State]:
    if unknown := sorted(wanted - {state["ref"] for state in listed}):
        raise NotFound(f"{unknown[0]} is not among the daemon's models", "name it in `models`, or `cachemgr pull` it")
    return [state for state in listed if not wanted or state["ref"] in wanted]


def _too_late(listed: Sequence[readiness.State] | None, timeout: str, where: str) -> CacheError:
    if listed is None:
        return DeadlineExceeded(f"no daemon answered on {where} within {timeout}", "start it: `cachemgr serve`")
    hint = "`cachemgr status` shows how far it is; --timeout waits longer"
    return DeadlineExceeded(f"not ready after {timeout}: {readiness.standing(listed)}", hint)


@ls_app.command("ls")
def ls(
    *,
    tier: OnTier = None,
    filters: Filters = None,
    quiet: Ids = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """List the models that are here, the most recently used first."""
    with session(load(config)) as talk:
        rows = talk.api.call("GET", "/v1/models" + address.questions(tier=tier), timeout=60.0)
    rows = matching(rows, filters or ())
    if not quiet and not as_json and not rows:
        output.note("no models here" if not filters else "no model matches")
    lines = [row["id"] for row in rows] if quiet else listing(rows, output.width(sys.stdout))
    output.result(rows, lines, as_json)


def listing(rows: Sequence[dict[str, Any]], columns: int | None) -> list[str]:  # Any: Listed rows as JSON
    """A table of models."""
    if not rows:
        return []
    headers = ("REF", "REVISION", "TIER", "SIZE", "FILES", "USED", "NOTES")
    return table(headers, [_row(row) for row in rows], columns, right="SIZE FILES")


def _row(row: dict[str, Any]) -> list[str]:  # Any: a Listed as JSON
    notes = [word for word in ("held", "pinned", "adopted") if row[word]]
    what = [short_ref(row["ref"]), row["revision"][:8], row["tier"], size(row["bytes"]), str(row["files"])]
    return [*what, ago(row["last_used"]), " ".join(notes)]
