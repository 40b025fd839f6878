"""`run -- CMD`: an unchanged program whose hub library reads what we verified, from the fastest tier."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated

import typer

from cachemgr import client, log
from cachemgr.cli import readiness
from cachemgr.cli.child import run_child
from cachemgr.cli.options import Config, seconds
from cachemgr.cli.session import answers, load
from cachemgr.daemon import Background
from cachemgr.domain.errors import CachemgrError
from cachemgr.domain.ref import Ref
from cachemgr.settings import Settings

logger = logging.getLogger(__name__)

run_app = typer.Typer(rich_markup_mode=None, add_completion=False)

_BARE = {"allow_interspersed_args": False, "ignore_unknown_options": False}

Command = Annotated[list[str], typer.Argument(metavar="CMD...", help="The program and its arguments, after `--`.")]
Online = Annotated[bool, typer.Option("--online", help="Let CMD ask the hub (no HF_HUB_OFFLINE=1).")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Start CMD at once, its environment untouched.")]
Timeout = Annotated[str | None, typer.Option("--timeout", metavar="TIME", help="Instead of run.wait_timeout.")]


@run_app.command("run", context_settings=_BARE)
def run(
    command: Command,
    *,
    online: Online = False,
    no_wait: NoWait = False,
    timeout: Timeout = None,
    config: Config = None,
) -> int:
    """Wait for the configured models, then run CMD on them and exit with its code.

    CMD's hub library is pointed at the fastest tier that has all models, and they are held until CMD ends. If they are
    not ready in time, CMD starts with its own environment.
    """
    settings = load(config)
    log.configure(settings.log.level, settings.log.format, settings.secrets())
    limit = seconds(timeout, "--timeout")
    ends = time.monotonic() + (settings.run.wait_timeout if limit is None else limit)
    # For the client here and the one in CMD.
    os.environ["CACHEMGR_SOCKET"] = str(settings.api.socket)
    with _exiting_when_terminated(), _daemon(settings) as there, ExitStack() as holds:
        changes: Mapping[str, str] = {}
        if there and not no_wait and settings.models:
            changes = _point(settings, holds, ends, online)
        return run_child(command, {**os.environ, **changes})


@contextmanager
def _daemon(settings: Settings) -> Iterator[bool]:
    """A daemon for the time of the command: the one that runs, or our own; False if neither can be had."""
    with ExitStack() as stack:
        there = True
        try:
            if not answers(settings.api.socket):
                stack.enter_context(Background(settings))
        except (CachemgrError, client.CacheError) as error:
            # Whatever ails us, the worker must not be worse off than without us.
            logger.error("no daemon: CMD starts with its own environment", extra={"detail": error.detail})
            there = False
        yield there


def _point(settings: Settings, holds: ExitStack, ends: float, online: bool) -> Mapping[str, str]:
    """Wait for the models, hold them, and return what CMD's environment needs; nothing if that takes too long."""
    api, models = client.Api(), [str(Ref.parse(ref)) for ref in settings.models]
    trouble = _await(api, models, ends)
    hub = None if trouble else _hold_all(api, models, holds)
    if hub is None:
        detail = trouble or "no tier has all of the models"
        logger.warning("models are not ready: CMD starts with its own environment", extra={"detail": detail})
        return {}
    logger.info("models are ready", extra={"hub": hub})
    offline = {} if online else {"HF_HUB_OFFLINE": "1"}
    return {"HF_HUB_CACHE": hub, "HUGGINGFACE_HUB_CACHE": hub, **offline}


def _await(api: client.Api, models: Sequence[str], ends: float) -> str | None:
    """Wait until the models are ready; return why they are not, if they are not in time."""
    while True:
        listed = readiness.states(api)
        ours = None if listed is None else [state for state in listed if state["ref"] in models]
        if ours is not None and readiness.ready(ours):
            return _ask_for(set(models) - {state["ref"] for state in ours}, ends)
        if ours is not None and (failed := readiness.hopeless(ours)):
            return f"{failed['ref']}: {failed['error']['detail']}"
        if time.monotonic() >= ends:
            return "no daemon answers" if ours is None else readiness.standing(ours)
        time.sleep(readiness.POLL_SECONDS)


def _ask_for(others: set[str], ends: float) -> str | None:
    """Bring what the daemon that runs has not among its own models; return why not, if it does not come in time."""
    for ref in sorted(others):
        try:
            with client.model(ref, deadline=max(ends - time.monotonic(), 0.0)):
                pass
        except client.CacheError as error:
            return f"{ref}: {error.detail}"
    return None


def _hold_all(api: client.Api, models: Sequence[str], holds: ExitStack) -> str | None:
    """Hold all models on the fastest tier that has them all; return its hub directory."""
    for tier in client.tiers(api.socket_path):
        with ExitStack() as trial:
            try:
                for ref in models:
                    trial.enter_context(client.model(ref, tier=tier.name, deadline=0.0))
            except client.CacheError as error:
                logger.debug("not all models are here", extra={"tier": tier.name, "detail": error.detail})
                continue
            holds.push(trial.pop_all())
            return tier.hub
    return None


@contextmanager
def _exiting_when_terminated() -> Iterator[None]:
    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
