"""Which checksum a store verifies, and how it is told."""

from __future__ import annotations

import base64
import hashlib
from typing import Literal

from cachemgr.bucket.faults import Garbled, StoreRefused
from cachemgr.bucket.line import Line

Check = Literal["amz", "md5", "none"]
"""`amz`: the `x-amz-checksum-*` headers; `md5`: Content-MD5 only; `none`: neither is looked at."""


def part_headers(check: Check, digest: bytes) -> dict[str, str]:
    """The headers that tell the digest of one part: its CRC-32 or MD5."""
    if check == "amz":
        return {"x-amz-sdk-checksum-algorithm": "CRC32", "x-amz-checksum-crc32": encoded(digest)}
    return {"content-md5": encoded(digest)} if check == "md5" else {}


def whole_headers(check: Check, sha256: str, digest: bytes) -> dict[str, str]:
    """The headers that tell the digest of a whole object: its sha256, or its only part's MD5."""
    if check == "amz":
        return {"x-amz-sdk-checksum-algorithm": "SHA256", "x-amz-checksum-sha256": encoded(bytes.fromhex(sha256))}
    return part_headers(check, digest)


def encoded(digest: bytes) -> str:
    """A digest as S3 writes it."""
    return base64.b64encode(digest).decode()


async def probe(line: Line, key: str, body: bytes) -> Check:
    """Find out by writing `body` to `key` under digests that are not its own: who accepts them does not look.

    Either way `key` may hold `body` afterwards. Raises what any write may.
    """
    if await line.retry(lambda: _minds(line, key, body, "amz")):
        right = encoded(hashlib.sha256(body).digest())
        try:
            await line.ask(
                key,
                lambda client: client.put_object(
                    Bucket=line.bucket, Key=key, Body=body, ChecksumAlgorithm="SHA256", ChecksumSHA256=right
                ),
            )
        except StoreRefused:
            pass  # it minds the header, not what it says
        else:
            return "amz"
    return "md5" if await line.retry(lambda: _minds(line, key, body, "md5")) else "none"


async def _minds(line: Line, key: str, body: bytes, check: Check) -> bool:
    other = body + b"?"
    sha256, md5 = hashlib.sha256(other).digest(), hashlib.md5(other, usedforsecurity=False).digest()
    try:
        if check == "amz":
            await line.once(
                key,
                lambda client: client.put_object(
                    Bucket=line.bucket, Key=key, Body=body, ChecksumAlgorithm="SHA256", ChecksumSHA256=encoded(sha256)
                ),
            )
        else:
            await line.once(
                key, lambda client: client.put_object(Bucket=line.bucket, Key=key, Body=body, ContentMD5=encoded(md5))
            )
    except Garbled:
        return True
    except StoreRefused:
        return False
    return False
