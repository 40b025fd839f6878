"""Sizes, shares and times as people write them: `80GiB`, `80%`, `30s`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from cachemgr.domain.errors import Usage

_UNITS = {"B": 1} | {
    f"{prefix}{kind}B": base**power
    for power, prefix in enumerate("KMGTP", start=1)
    for kind, base in (("", 1000), ("i", 1024))
}
_UNIT_OF = {name.lower(): size for name, size in _UNITS.items()}
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
# ASCII digits only: int() and Decimal() would take any script's.
_SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%")
_TIME = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h|d|w)")

_LARGEST = 2**63 - 1

_SIZE_HINT = "write sizes as 80GiB (1024-based), 500GB (1000-based) or 1048576 (bytes)"
_AMOUNT_HINT = "write 80%, or a size such as 80GiB or 500GB"
_TIME_HINT = "write times with their unit: 500ms, 30s, 5m, 1h30m, 7d"


@dataclass(frozen=True, slots=True)
class Amount:
    """So many bytes, or so many percent of a whole; exactly one of the two is set."""

    size: int | None = None
    percent: Decimal | None = None

    def __post_init__(self) -> None:
        if (self.size is None) == (self.percent is None):
            raise Usage("an amount is either a size or a percentage")

    @classmethod
    def parse(cls, text: str) -> Amount:
        """Read `80%` or what `parse_size` reads, with its unit; raises Usage."""
        share = _PERCENT.fullmatch(text.strip())
        if share is None:
            if "%" in text:
                raise Usage(f"{text[:40]!r} is not a percentage", hint=_AMOUNT_HINT)
            if text.strip().isdigit() and text.strip() != "0":
                # Whoever writes `high = 80` does not mean 80 bytes.
                raise Usage(f"{text[:40]!r} has neither % nor a unit", hint=_AMOUNT_HINT)
            return cls(size=parse_size(text))
        percent = Decimal(share[1])
        if percent > 100:
            raise Usage(f"{text[:40]!r} is more than the whole", hint=_AMOUNT_HINT)
        return cls(percent=percent)

    def of(self, total_bytes: int) -> int:
        """The bytes that this is, where the whole is `total_bytes`; a share is rounded down."""
        if self.percent is None:
            return self.size or 0
        return int(total_bytes * self.percent / 100)

    def __str__(self) -> str:
        return f"{self.percent.normalize():f}%" if self.percent is not None else format_size(self.size or 0)


def parse_size(text: str) -> int:
    """Read a size into bytes; raises Usage. Units are spelled out: `80G` could mean two things."""
    match = _SIZE.fullmatch(text.strip())
    factor = _UNIT_OF.get((match[2] or "B").lower()) if match else None
    if match is None or factor is None:
        raise Usage(f"{text[:40]!r} is not a size", hint=_SIZE_HINT)
    size = int(Decimal(match[1]) * factor)
    if size > _LARGEST:
        raise Usage(f"{text[:40]!r} is larger than any file system", hint=_SIZE_HINT)
    return size


def format_size(size_bytes: int) -> str:
    """The shortest exact spelling that `parse_size` reads back."""
    fitting = [(size_bytes // factor, name) for name, factor in _UNITS.items() if size_bytes % factor == 0]
    number, unit = min(fitting) if size_bytes else (0, "B")
    return f"{number}{unit}"


def parse_duration(text: str) -> float:
    """Read a time into seconds; raises Usage. A bare number is refused unless it is 0: nobody can see its unit."""
    stripped = text.strip()
    if stripped == "0":
        return 0.0
    parts = list(_TIME.finditer(stripped))
    if not parts or "".join(part[0] for part in parts) != stripped:
        raise Usage(f"{text[:40]!r} is not a time", hint=_TIME_HINT)
    units = [part[2] for part in parts]
    if len(set(units)) != len(units):
        raise Usage(f"{text[:40]!r} names a unit twice", hint=_TIME_HINT)
    return float(sum((Decimal(part[1]) * _MILLISECONDS[part[2]] for part in parts), Decimal(0)) / 1000)


def format_duration(seconds: float) -> str:
    """The spelling in whole parts that `parse_duration` reads back, to the millisecond."""
    rest, out = round(seconds * 1000), ""
    for unit in ("d", "h", "m", "s", "ms"):
        count, rest = divmod(rest, _MILLISECONDS[unit])
        out += f"{count}{unit}" if count else ""
    return out or "0s"
