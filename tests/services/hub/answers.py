"""Answers that both origins give: JSON, refusals as the real hub words them, and files with ranges and conditions."""

from __future__ import annotations

import json
import re

from tests.services.hub.content import Content
from tests.services.hub.wire import Answer, Request, Slice

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Refused(Exception):
    """A request that gets an error answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.status}")
        self.answer = answer


def as_json(value: object, status: int = 200, **headers: str) -> Answer:
    """This value; header names have `_` for `-`."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(status, {"Content-Type": "application/json; charset=utf-8", **named}, json.dumps(value).encode())


def refusal(status: int, message: str, code: str | None = None, commit: str | None = None) -> Refused:
    """An error as the hub reports it: in the body and in `X-Error-Code`, `X-Error-Message`."""
    answer = as_json({"error": message}, status, X_Error_Message=message)
    if code:
        answer.headers["X-Error-Code"] = code
    if commit:
        answer.headers["X-Repo-Commit"] = commit
    return Refused(answer)


def file_answer(request: Request, content: Content, etag: str, headers: dict[str, str]) -> Answer:
    """A file, a range of it, or that it has not changed."""
    quoted = f'"{etag}"'
    headers = {"ETag": quoted, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
    if quoted in request.headers.get("if-none-match", ""):
        return Answer(304, headers)
    if_range = request.headers.get("if-range")
    asked = request.headers.get("range") if if_range in (None, quoted) else None
    span = _span(asked, content.size)
    if span is None:
        return Answer(200, headers, Slice(content, 0, content.size))
    start, end = span
    if start >= content.size or end < start:
        return Answer(416, {**headers, "Content-Range": f"bytes */{content.size}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{content.size}"
    return Answer(206, headers, Slice(content, start, end - start + 1))


def _span(asked: str | None, size: int) -> tuple[int, int] | None:
    match = _RANGE.fullmatch(asked or "")
    if match is None or match[0] == "bytes=-":
        return None
    if not match[1]:
        return max(0, size - int(match[2])), size - 1
    return int(match[1]), min(int(match[2]), size - 1) if match[2] else size - 1
