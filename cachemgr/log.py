"""The structured log: one event and its fields a line, within 4096 characters, and no secret in it."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Literal, TextIO

from cachemgr.redaction import Redaction

# structlog takes rich along for tracebacks in colour, which no line of ours has: 3 MiB of a daemon that stays small.
_rich = sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None: "not installed", says the import system

import structlog  # noqa: E402 - not before rich is out of its sight
from structlog.typing import EventDict, Processor  # noqa: E402 - with it

if _rich is None:
    del sys.modules["rich"]

Format = Literal["auto", "json", "text"]

# The platform cuts log lines there, and half a JSON document is none.
LONGEST_LINE = 4096
REPEAT_SECONDS = 30.0

_CUT = "[...]"
_ROUNDS = 64

# Loggers that put tokens, signed URLs or whole bodies into their debug lines.
_TALKATIVE = (
    *("aiobotocore", "aiohttp", "asyncio", "boto3", "botocore", "hpack", "httpcore2", "httpx2", "huggingface_hub"),
    *("pydantic_settings", "urllib3", "watchdog"),
)

_redaction = Redaction()


def configure(level: str, format: Format, secrets: Iterable[str] = (), stream: TextIO | None = None) -> None:
    """Send the log lines of this process to `stream` (stderr), and nowhere else that an earlier call named.

    `secrets` are values that no line may hold. `auto` is text in a terminal and JSON elsewhere.
    """
    stream = sys.stderr if stream is None else stream
    for secret in secrets:
        add_secret(secret)
    text = format == "text" or (format == "auto" and stream.isatty())
    handler = _Stream(stream)
    handler.setFormatter(_Line(text=text, colors=text and stream.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [other for other in root.handlers if not isinstance(other, _Stream)] + [handler]
    root.setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def add_secret(value: str) -> None:
    """From now on no line holds this value, a job's credentials for example."""
    _redaction.add(value)


bound = structlog.contextvars.bound_contextvars
"""`with bound(request=..., artifact=...)`: every line from inside carries these fields, in tasks begun there too."""


class Repeats:
    """Says what a loop that keeps failing has to say: the first error, then one in 30 s, then that it recovered."""

    def __init__(
        self, log: logging.Logger, clock: Callable[[], float] = time.monotonic, every_seconds: float = REPEAT_SECONDS
    ) -> None:
        self._log = log
        self._clock = clock
        self._every_seconds = every_seconds
        self._failures = 0
        self._said_at = 0.0
        self._began_at = 0.0

    def failed(self, event: str, error: BaseException, **fields: object) -> None:
        """Note one more failure; logs it if it is the first, or the last line is long enough ago."""
        now = self._clock()
        self._failures += 1
        if self._failures == 1:
            self._began_at = now
        elif now - self._said_at < self._every_seconds:
            return
        self._said_at = now
        about = {"error": str(error) or type(error).__name__, "failures": self._failures}
        self._log.warning(event, extra={**about, **fields})

    def succeeded(self, event: str, **fields: object) -> None:
        """Note a success; logs it if it ends a row of failures."""
        if self._failures:
            seconds = round(self._clock() - self._began_at, 3)
            self._log.info(event, extra={"failures": self._failures, "seconds": seconds, **fields})
        self._failures = 0


class _Stream(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # the library's name
        # The library would print the record's arguments as they are, secrets included. A line that cannot be
        # rendered is named; a stream that is gone (nobody reads the pipe any more) is no reason to fail.
        with suppress(OSError, ValueError):
            self.stream.write(f"{record.name}: a log line at {record.lineno} could not be written\n")


class _Line(structlog.stdlib.ProcessorFormatter):
    """Renders records of the standard library, ours and others', each as one bounded line."""

    def __init__(self, *, text: bool, colors: bool) -> None:
        before: list[Processor] = [
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            _drop_message,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
        ]
        rendering: list[Processor] = [self.remove_processors_meta, _redact]
        if text:
            plain = structlog.dev.plain_traceback
            rendering += [_escape, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
        else:
            rendering += [_fit, structlog.processors.JSONRenderer()]
        super().__init__(foreign_pre_chain=before, processors=rendering)

    def format(self, record: logging.LogRecord) -> str:
        """The line, once more without secrets: a spelling may have come with the rendering."""
        return _redaction.text(super().format(record))


def _drop_message(_: object, __: str, fields: EventDict) -> EventDict:
    # Another handler's formatter leaves it on the record; it is the event once more.
    fields.pop("message", None)
    return fields


def _redact(_: object, __: str, fields: EventDict) -> EventDict:
    return _redaction.fields(fields)


def _escape(_: object, __: str, fields: EventDict) -> EventDict:
    # A name from outside must not write a line of its own, or colors, into somebody's terminal.
    for key, value in fields.items():
        if isinstance(value, str) and key not in ("exception", "stack"):
            escaped = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in value)
            fields[key] = escaped[:LONGEST_LINE]
    return fields


def _fit(_: object, __: str, fields: EventDict) -> EventDict:
    """Halve the longest field until the line fits: a stack keeps its end, other text its beginning."""
    short = dict(fields)
    for _round in range(_ROUNDS):
        excess = len(json.dumps(short)) - (LONGEST_LINE - 1)  # 1: the line's end
        if excess <= 0:
            return short
        key = max(short, key=lambda name: len(json.dumps(short[name])))
        text = short[key] if isinstance(short[key], str) else json.dumps(short[key])
        keep = max(len(text) - excess - len(_CUT), len(text) // 2)
        short[key] = _CUT + text[len(text) - keep :] if key in ("exception", "stack") else text[:keep] + _CUT
    return {name: str(fields.get(name))[:200] for name in ("event", "level", "logger", "timestamp")} | {"cut": True}
