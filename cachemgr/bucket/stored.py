"""What a store says about an object that it has."""

from __future__ import annotations

from dataclasses import dataclass

from cachemgr.bucket.line import Line
from cachemgr.domain.errors import NotFound

SHA256_METADATA = "cachemgr-sha256"


@dataclass(frozen=True, slots=True)
class Stored:
    """One object: its key, size, ETag (without quotes), and the sha256 that its sender noted beside it."""

    key: str
    size: int
    etag: str | None
    sha256: str | None


async def find(line: Line, key: str) -> Stored | None:
    """The object under this key, or None."""
    try:
        answer = await line.ask(key, lambda client: client.head_object(Bucket=line.bucket, Key=key))
    except NotFound:
        return None
    return Stored(
        key, answer["ContentLength"], tag(answer.get("ETag")), answer.get("Metadata", {}).get(SHA256_METADATA)
    )


def tag(text: str | None) -> str | None:
    """An ETag without its quotes: stores do not agree on when to write them."""
    return text.strip().strip('"') or None if text else None
