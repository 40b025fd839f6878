"""What becomes of an error that ends the program: words for people or JSON for programs, and an exit code."""

from __future__ import annotations

import os
import sys

import typer

from cachemgr.cli import output
from cachemgr.cli.exits import Failure


def tell(error: BaseException, as_json: bool) -> int:
    """Tell an error; return the exit code. An error that nobody foresaw is raised again in a debugging session."""
    left = error.__context__ if isinstance(error, SystemExit) else error  # the library exits by itself
    if isinstance(left, BrokenPipeError):
        # Whoever read has left: nothing more can be said, not even when the interpreter flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return _interrupted(as_json)
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)  # usage errors know which command they are of
        where = context.command_path if context is not None else "cachemgr"
        return output.fail(Failure("usage", error.format_message(), f"see `{where} --help`"), as_json)
    failure = Failure.of(error)
    if failure.code == "internal" and os.environ.get("CACHEMGR_LOG__LEVEL") == "debug":
        raise error
    return output.fail(failure, as_json)


def _interrupted(as_json: bool) -> int:
    failure = Failure("interrupted", "interrupted", "start again: what was verified is kept")
    if as_json:
        return output.fail(failure, as_json=True)
    output.note("interrupted")
    return failure.exit_code
