"""What a store says about an object that it has."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cachemgr.bucket.line import Line
from cachemgr.domain.errors import NotFound

SHA256_METADATA = "cachemgr-sha256"

_MD5 = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Stored:
    """One object: its key, size, ETag (without quotes), and the sha256 that its sender noted beside it."""

    key: str
    size: int
    etag: str | None
    sha256: str | None

    def is_like(self, other: Stored) -> bool:
        """True if nothing that is known of both differs."""
        same = self.sha256 is None or other.sha256 is None or self.sha256 == other.sha256
        return same and self.size == other.size and (self.etag is None or other.etag is None or self.etag == other.etag)

    @property
    def md5(self) -> str | None:
        """Its ETag where that can be the MD5 of its bytes: then it stays the same wherever the object is copied."""
        return self.etag if self.etag is not None and _MD5.fullmatch(self.etag) else None


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
