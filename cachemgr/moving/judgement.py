"""What an origin's answer to a GET is worth: judged by all it says, not by its status alone."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPMessage

from cachemgr.domain.errors import CachemgrError, NotFound, OriginUnavailable, Unauthorized
from cachemgr.moving.patience import Broken

REDIRECTS = frozenset({301, 302, 303, 307, 308})

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
_CODE = re.compile(r"[A-Za-z0-9_-]{1,40}")
_SECONDS = re.compile(r"\s*[0-9]{1,9}\s*")
_RATE_LIMIT = re.compile(r"r=0;t=([0-9]{1,9})\b")
_TEMPORARY = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Asked:
    """The bytes [start, end) of a file of `size` bytes at `where`."""

    where: str
    start: int
    end: int
    size: int

    @property
    def whole(self) -> bool:
        """True if this is the whole file: asked for without a range."""
        return self.start == 0 and self.end == self.size


def judge(asked: Asked, status: int, headers: HTTPMessage) -> None:
    """Return if the body of this answer is what was asked for.

    Raises Broken where asking again may help, else Unauthorized, NotFound or OriginUnavailable.
    """
    if status not in (200, 206):
        raise _refusal(asked.where, status, headers)
    encoding = headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise OriginUnavailable(
            f"{asked.where} answers with Content-Encoding {encoding[:40]!r}, which was not asked for"
        )
    content_range = headers.get("Content-Range")
    if content_range is not None:
        _check_part(asked, content_range)
    elif status == 206 or not asked.whole:
        # rclone answers 200 to a range, with the right Content-Range; others answer 200 with the whole file.
        raise OriginUnavailable(f"{asked.where} does not send the range it was asked for")
    length, expected = headers.get("Content-Length"), asked.end - asked.start
    if length is not None and length.strip() != str(expected):
        raise OriginUnavailable(f"{asked.where} sends {length[:20]} bytes, not {expected}: the file has changed")


def _check_part(asked: Asked, content_range: str) -> None:
    match = _CONTENT_RANGE.fullmatch(content_range.strip())
    if match is None:
        raise OriginUnavailable(f"{asked.where} sends Content-Range {content_range[:60]!r}")
    if match[3] not in ("*", str(asked.size)):
        raise OriginUnavailable(f"{asked.where} has {match[3]} bytes, not {asked.size}: the file has changed")
    if (int(match[1]), int(match[2])) != (asked.start, asked.end - 1):
        raise OriginUnavailable(
            f"{asked.where} sends bytes {match[1]}-{match[2]} where {asked.start}-{asked.end - 1} were asked for"
        )


def _refusal(where: str, status: int, headers: HTTPMessage) -> Exception:
    code = headers.get("X-Error-Code", "")
    text = f"{where} answers {status}" + (f" ({code})" if _CODE.fullmatch(code) else "")
    if status in _TEMPORARY or status >= 500:
        return Broken(text, _retry_after(headers))
    kind: type[CachemgrError] = OriginUnavailable
    if status in (401, 403):
        kind = Unauthorized
    elif status in (404, 410):
        kind = NotFound
    elif status == 416:
        text += ": the file has changed"
    return kind(text)


def _retry_after(headers: HTTPMessage) -> float | None:
    """How many seconds the origin wants us to wait; the Hub says so in a header of its own."""
    limit = _RATE_LIMIT.search(headers.get("RateLimit", ""))
    value = limit[1] if limit else headers.get("Retry-After", "")
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
