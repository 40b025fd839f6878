"""How people read sizes, times and names: short, with one unit, never wrapped."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_STEPS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
_COMMIT = re.compile(r"[0-9a-f]{40}")
GAP = "  "
_NARROWEST = 8


def size(count: float | None) -> str:
    """`1.3 GB`, `412 MB`, `0 B`; powers of 1000, as disks and hubs are sold; `-` for None."""
    if count is None:
        return "-"
    value, unit = float(count), 0
    while abs(value) >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if 0 < value < 9.95 and unit else f"{value:.0f} {_UNITS[unit]}"


def speed(bytes_per_second: float) -> str:
    """`120 MB/s`."""
    return f"{size(bytes_per_second)}/s"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`: two units at most."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    rest, parts = round(seconds), []
    for unit, length in _STEPS:
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def moment(text: str) -> datetime:
    """The moment that an RFC 3339 timestamp of ours names."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def age_seconds(text: str | None, now: datetime | None = None) -> float:
    """How long ago it was; infinite for never."""
    if text is None:
        return float("inf")
    return max(((now or datetime.now(UTC)) - moment(text)).total_seconds(), 0.0)


def ago(text: str | None) -> str:
    """`now`, `5 min ago`, `3 d ago`, `never`."""
    seconds = age_seconds(text)
    if seconds == float("inf"):
        return "never"
    for unit, length in _STEPS[:-1]:
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "now" if seconds < 5 else f"{int(seconds)} s ago"


def short_ref(ref: str) -> str:
    """A ref whose commit is cut to eight digits."""
    return _COMMIT.sub(lambda found: found[0][:8], ref)


def shortened(text: str, width: int) -> str:
    """`text` in at most `width` columns; what is left out of its middle shows as an ellipsis."""
    if len(text) <= width:
        return text
    tail = (width - 1) * 2 // 3
    return text[: max(width - 1 - tail, 0)] + "…" + (text[-tail:] if tail > 0 else "")


def counted(count: int, noun: str) -> str:
    """`1 file`, `20 files`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def folded(head: str, line: str, width: int | None) -> str:
    """`head` and `line`, wrapped between words and indented below the head where a terminal has only so much room."""
    if width is None:
        return head + line
    indent = " " * min(len(head), 7)
    return textwrap.fill(
        line,
        width,
        initial_indent=head,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, right: str = "") -> list[str]:
    """Aligned lines, headers in `right` at the right; with a `width` the widest columns give way until all fits."""
    columns = [[header, *(row[n] for row in rows)] for n, header in enumerate(headers)]
    widths = [max(map(len, column)) for column in columns]
    if width is not None:
        room = width - len(GAP) * (len(widths) - 1)
        while sum(widths) > room and max(widths) > _NARROWEST:
            widths[widths.index(max(widths))] -= 1
    aligned = [
        [(cell.rjust if headers[n] in right.split() else cell.ljust)(widths[n]) for cell in cells]
        for n, column in enumerate(columns)
        for cells in [[shortened(cell, widths[n]) for cell in column]]
    ]
    return [GAP.join(line).rstrip() for line in zip(*aligned, strict=True)]
