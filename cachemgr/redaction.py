"""Blotting out secrets: by the name they stand under, by their value, and by their shape."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import isfinite
from typing import Final
from urllib.parse import quote

BLOT: Final = "***"

_NAMES = re.compile(r"(?i)token|secret|passw|authorization|cookie|credential|signature|api_?key|private_?key")
# What carries a secret in it wherever it stands: credentials in headers, signed URLs, URLs with a password, hub tokens.
_SHAPES = re.compile(
    r"""(?ix)
      (?P<scheme> \b(?:bearer|basic) \s+ ) [a-z0-9._~+/=-]{6,}
    | (?P<query> [?&] (?: x-amz-(?:signature|credential|security-token) | signature | policy | sig | token
        | access_token ) = ) [^&\s"'\\]+
    | (?P<user> :// [^/\s:@"']* : ) [^/\s@"']+ (?= @ )
    | \b hf_[a-z0-9]{16,}
    """
)
# A shorter value is no secret, and blotting it out would eat the line.
_SHORTEST = 5
# Jobs bring credentials of their own for as long as the process lives: the oldest ones are forgotten.
_MOST = 100


class Redaction:
    """Knows the secrets of this process; every spelling of them that a log line may hold is blotted out."""

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()
        self._spellings: tuple[str, ...] = ()

    def add(self, value: str) -> None:
        """From now on this value is a secret; one of fewer than five characters is not."""
        if len(value) < _SHORTEST or value in self._secrets:
            return
        self._secrets = (*self._secrets, value)[-_MOST:]
        every = {spelling for secret in self._secrets for spelling in _spellings(secret)}
        # The longest first: one secret may be a part of another one.
        self._spellings = tuple(sorted(every, key=len, reverse=True))

    def text(self, text: str) -> str:
        """The same text without secrets in it."""
        for spelling in self._spellings:
            text = text.replace(spelling, BLOT)
        return _SHAPES.sub(_keep_around, text)

    def fields(self, fields: Mapping[str, object]) -> dict[str, object]:
        """The same fields without secrets in them, at any depth; what is not plain becomes its text."""
        return {str(name): self._value(str(name), value) for name, value in fields.items()}

    def _value(self, name: str, value: object) -> object:
        if value is None or isinstance(value, bool | int | float):
            return value if not isinstance(value, float) or isfinite(value) else str(value)
        if _NAMES.search(name):
            return BLOT
        if isinstance(value, Mapping):
            return self.fields(value)
        if isinstance(value, list | tuple | set | frozenset):
            return [self._value("", item) for item in value]
        return self.text(value if isinstance(value, str) else _text_of(value))


def _spellings(secret: str) -> tuple[str, ...]:
    # As it is, in JSON, in a URL's query, in a URL's path. A secret with half a character in it stands in no URL.
    quotable = secret.encode(errors="surrogatepass")
    return secret, json.dumps(secret)[1:-1], quote(quotable, safe=""), quote(quotable)


def _keep_around(match: re.Match[str]) -> str:
    return next((part for part in match.groups() if part is not None), "") + BLOT


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception as exc:  # noqa: BLE001  # a log line must not fail because something cannot be spelled
        return f"<{type(value).__name__}: {type(exc).__name__}>"
