"""`run -- CMD`: an unchanged program on verified models, held until it ends; never worse off than without us."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from cachemgr import client
from cachemgr.daemon import Background
from cachemgr.domain.errors import CachemgrError, NotFound, Unauthorized, Usage
from cachemgr.domain.ref import Ref
from cachemgr.settings import Settings

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
NOT_FOUND, NOT_EXECUTABLE, SIGNALLED = 127, 126, 128
TIERS = ("disk", "volume")
FINAL = frozenset({Usage.code, NotFound.code, Unauthorized.code})
"""Failures that waiting does not mend."""

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class _Stopped(BaseException):
    """A signal came before there was a command that could have had it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Command:
    """The user's program: started once, told every signal that we are told."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = [*argv]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, environ: Mapping[str, str]) -> None:
        """Start it with our own standard streams; raises OSError if it cannot be."""
        self._process = subprocess.Popen(self._argv, env=dict(environ))

    def wait(self) -> int:
        """Its exit code, as a shell tells it (128 + n for signal n)."""
        assert self._process is not None
        code = self._process.wait()
        return code if code >= 0 else SIGNALLED - code

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Pass signals on; before it has started, a signal ends the block with _Stopped."""
        before = {number: signal.signal(number, self._pass_on) for number in _FORWARDED}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if self._process is None:
            raise _Stopped(number)
        # A terminal gives its Ctrl-C and Ctrl-\ to the whole group, the program included: once is enough.
        if not (number in (signal.SIGINT, signal.SIGQUIT) and sys.stdin is not None and sys.stdin.isatty()):
            self._process.send_signal(number)


def run_command(settings: Settings, argv: Sequence[str], *, wait: bool, online: bool) -> int:
    """Run `argv` on the configured models and return its exit code.

    Waits `run.wait_timeout` for the models, points the program's hub library at the fastest tier that has all of them
    (and keeps it offline unless `online`), and holds them until it ends. Whatever keeps us from that is one log line,
    and the program starts with its own environment; without `wait` it does so at once.
    """
    command = Command(argv)
    os.environ["CACHEMGR_SOCKET"] = str(settings.api.socket)
    try:
        with command.signals(), ExitStack() as stack:
            if not wait:
                command.start(os.environ)
            serving = _serve(settings, stack)
            if wait:
                ours = _point(settings, stack, online) if serving else {}
                command.start({**os.environ, **ours})
            return command.wait()
    except _Stopped as stopped:
        return SIGNALLED + stopped.number
    except OSError as error:
        print(f"error: {argv[0]} cannot be run: {error.strerror}", file=sys.stderr)
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE


def _serve(settings: Settings, stack: ExitStack) -> bool:
    """Make sure that a daemon serves: the one that runs already, or one of our own until the command ends."""
    try:
        client.Api().call("GET", "/v1/status")
        return True
    except client.CacheError:
        pass
    try:
        stack.enter_context(Background(settings))
        return True
    except CachemgrError as error:
        _untouched(error.detail)
        return False


def _point(settings: Settings, stack: ExitStack, online: bool) -> dict[str, str]:
    """The variables that lead the program's hub library to the models, which `stack` then holds; empty if it cannot."""
    if not settings.models:
        return {}
    deadline = time.monotonic() + settings.run.wait_timeout
    try:
        for ref in settings.models:
            _await(ref, deadline)
        hub = _held(settings.models, stack)
    except client.CacheError as error:
        _untouched(error.detail)
        return {}
    log.info("command reads verified models", extra={"hub": str(hub), "models": len(settings.models)})
    offline = {} if online else {"HF_HUB_OFFLINE": "1"}
    return {"HF_HUB_CACHE": str(hub), "HUGGINGFACE_HUB_CACHE": str(hub), **offline}


def _await(ref: str, deadline: float) -> None:
    """Wait until the daemon has this model on the fastest tier that takes it; raises CacheError."""
    name = str(Ref.parse(ref))
    while True:
        states = {model["ref"]: model for model in client.Api().call("GET", "/v1/status")["models"]}
        state = states.get(name)
        if state is None:  # a daemon that was there before us, and was not told of this model
            with client.model(ref, deadline=max(0.0, deadline - time.monotonic())):
                return
        if state["state"] == "ready":
            return
        error = state["error"] or {}
        if error.get("code") in FINAL:
            raise client.CacheError(error["detail"])
        if time.monotonic() >= deadline:
            said = error.get("detail") or f"it is {state['state']}"
            raise client.DeadlineExceeded(f"{ref} was not ready in time: {said}")
        time.sleep(POLL_SECONDS)


def _held(refs: Sequence[str], stack: ExitStack) -> Path:
    """Hold all models on the fastest tier that has all of them; return that tier's hub directory."""
    trouble: client.CacheError = client.NotFound("no tier has all models")
    for tier in TIERS:
        with ExitStack() as holds:
            try:
                places = [holds.enter_context(client.model(ref, tier, deadline=0)) for ref in refs]
            except client.CacheError as error:
                trouble = error
                continue
            stack.enter_context(holds.pop_all())
            return _hub_directory(Path(places[0]))
    raise trouble


def _hub_directory(place: Path) -> Path:
    """`<hub>` of `<hub>/models--org--name/snapshots/<commit>[/...]`."""
    snapshots = next(parent for parent in place.parents if parent.name == "snapshots")
    return snapshots.parent.parent


def _untouched(reason: str) -> None:
    log.warning("command starts with its own environment", extra={"reason": reason})
