"""`ls --filter`: which models to list, as `accessed>7d`, `size>10GB`, `tier=disk`, `pinned`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from cachemgr.cli.text import age_seconds
from cachemgr.client import Usage
from cachemgr.domain.errors import CachemgrError
from cachemgr.domain.quantity import parse_duration, parse_size

Row = dict[str, Any]  # Any: a Listed as JSON
Test = Callable[[Row], bool]

_FILTER = re.compile(r"\s*([a-z_]+)\s*(>=|<=|!=|=|>|<)\s*(.+?)\s*")
_ORDERS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_NUMBERS: dict[str, tuple[Callable[[Row], float], Callable[[str], float]]] = {
    "accessed": (lambda row: age_seconds(row["last_used"]), parse_duration),
    "size": (lambda row: row["bytes"], parse_size),
    "files": (lambda row: row["files"], float),
}
_WORDS = ("ref", "id", "revision", "tier")
_FLAGS = ("held", "pinned", "adopted")
_HINT = 'accessed>7d, size>=10GB, files<5, tier=disk, ref=hf://org/name@main, pinned, held, adopted (or "pinned=no")'


def matching(rows: Sequence[Row], filters: Sequence[str]) -> list[Row]:
    """The rows that every filter lets through; raises Usage."""
    tests = [_test(text) for text in filters]
    return [row for row in rows if all(test(row) for test in tests)]


def _test(text: str) -> Test:
    word = text.strip()
    if word in _FLAGS:
        return lambda row: bool(row[word])
    found = _FILTER.fullmatch(text)
    if found is None:
        raise Usage(f"{text[:80]!r} is no filter", _HINT)
    name, sign, value = found.groups()
    if name in _NUMBERS and sign in _ORDERS:
        return _number(name, sign, value)
    if sign in ("=", "!=") and name in _WORDS:
        return lambda row: (str(row[name]) == value) == (sign == "=")
    if sign in ("=", "!=") and name in _FLAGS and value in ("yes", "no"):
        return lambda row: (bool(row[name]) == (value == "yes")) == (sign == "=")
    raise Usage(f"{text[:80]!r} is no filter", _HINT)


def _number(name: str, sign: str, value: str) -> Test:
    of, parse = _NUMBERS[name]
    try:
        bound = parse(value)
    except CachemgrError as error:
        raise Usage(f"{name}: {error.detail}", error.hint) from None
    except ValueError:
        raise Usage(f"{name}: {value[:40]!r} is not a number", _HINT) from None
    return lambda row: _ORDERS[sign](of(row), bound)
