"""Where words go: results to stdout, everything else to stderr, and what is not printable nowhere."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import TextIO

from cachemgr.cli.exits import Failure


def result(value: object, lines: Iterable[str], as_json: bool) -> None:
    """The result of a command on stdout: one JSON value, or these lines."""
    for line in [json.dumps(value)] if as_json else lines:
        print(printable(line), file=_tolerant(sys.stdout))
    sys.stdout.flush()


def note(text: str) -> None:
    """Something for the person at the terminal; never part of a result."""
    print(printable(text), file=_tolerant(sys.stderr), flush=True)


def fail(failure: Failure, as_json: bool) -> int:
    """Tell an error, on stdout as JSON or on stderr for people; return the exit code."""
    if as_json:
        result(failure.document(), [], as_json=True)
    else:
        note(failure.text(width(sys.stderr)))
    return failure.exit_code


def width(stream: TextIO) -> int | None:
    """The columns of the terminal behind `stream`; None if it is none, and lines may be as long as they are."""
    if not stream.isatty():
        return None
    try:
        return int(os.environ["COLUMNS"])
    except (KeyError, ValueError):
        pass
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80


def printable(text: str) -> str:
    """The same text without what would move a terminal's cursor: names come from outside."""
    return "".join(char if char == "\n" or (char >= " " and not "\x7f" <= char <= "\x9f") else "�" for char in text)


def _tolerant(stream: TextIO) -> TextIO:
    # A path may have bytes that are no UTF-8, and a terminal may know no ellipsis: neither is a reason to fail.
    if hasattr(stream, "reconfigure"):
        utf8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
        stream.reconfigure(errors="surrogateescape" if utf8 else "replace")
    return stream
