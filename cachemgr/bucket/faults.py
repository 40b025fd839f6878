"""What a store's refusals mean: foreign errors and error documents become ours, here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cachemgr.domain.errors import CachemgrError, NotFound, OriginUnavailable, Unauthorized, Usage, VerificationFailed

KEYS_HINT = "check s3.access_key_id and s3.secret_access_key (or AWS_*), and what they may do with this bucket"
STORE_HINT = "the store may be busy or away: try again; check s3.endpoint_url"
_CLOCK_HINT = "this machine's clock is wrong: signatures are only good for some minutes"
_EXPIRED_HINT = "these credentials have expired: get new ones"
_NAME_HINT = "check the name, and which store s3.endpoint_url names"

_WRONG_KEYS = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "AllAccessDisabled"})
_EXPIRED = frozenset({"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "ExpiredTokenException"})
_DIGESTS = frozenset({"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"})
_PASSING = frozenset({"SlowDown", "RequestTimeout", "InternalError", "ConditionalRequestConflict"})
_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9.]{1,60})\s*</Code>")
_PLAIN = re.compile(r"[A-Za-z0-9.]{1,60}")


class StoreRefused(OriginUnavailable):
    """The store will not do this, however often it is asked."""

    retryable = False
    default_hint = "see which part of S3 this store supports; check s3.endpoint_url and s3.region"


class Unsupported(StoreRefused):
    """The store does not know this operation or this header."""


class ConditionFailed(StoreRefused):
    """A conditional request found the object otherwise than its condition said."""


class UploadGone(StoreRefused):
    """The multipart upload does not exist: never, not any more, or it was completed."""


class Garbled(VerificationFailed):
    """The store received other bytes than those that were hashed: sending them again may help."""

    retryable = True
    default_hint = "the connection changes bytes, or the file changed while it was sent"


def from_answer(status: int, code: str, where: str, headers: Mapping[str, str]) -> CachemgrError:
    """The error that an answer with this status and error code stands for.

    Only the code is repeated: a message can say things that are nobody's business.
    """
    code = code if _PLAIN.fullmatch(code) else str(status)
    text = f"{where}: the store answers {status}" + ("" if code == str(status) else f" ({code})")
    if code == "NoSuchBucket":
        bucket = "/".join(where.split("/", 3)[:3])
        return NotFound(f"{bucket}: there is no such bucket", hint=_NAME_HINT)
    if code == "NoSuchUpload":
        return UploadGone(text)
    if code == "RequestTimeTooSkewed":
        return Unauthorized(text, hint=_CLOCK_HINT)
    if code in _EXPIRED:
        return Unauthorized(text, hint=_EXPIRED_HINT)
    if code in _DIGESTS:
        return Garbled(f"{where}: the store received other bytes than were sent ({code})")
    return _from_status(status, code, text, headers)


def _from_status(status: int, code: str, text: str, headers: Mapping[str, str]) -> CachemgrError:
    if status in (401, 403) or code in _WRONG_KEYS:
        return Unauthorized(text, hint=KEYS_HINT)
    if status == 404:
        return NotFound(text, hint=_NAME_HINT)
    if status in (405, 501) or code == "NotImplemented":
        return Unsupported(text)
    if status >= 500 or status in (408, 425, 429) or code in _PASSING:
        return OriginUnavailable(text, hint=STORE_HINT, **_pause(headers))
    return ConditionFailed(text) if status == 412 else _refusal(status, text, headers)


def _refusal(status: int, text: str, headers: Mapping[str, str]) -> StoreRefused:
    region = headers.get("x-amz-bucket-region", "")
    hint = f"set s3.region to {region}" if re.fullmatch(r"[a-z0-9-]{1,40}", region) else None
    return StoreRefused(f"{text}: redirects are not followed" if 300 <= status < 400 else text, hint=hint)


def from_body(status: int, body: bytes, where: str, headers: Mapping[str, str]) -> CachemgrError | None:
    """The error that the answer to a PUT of bytes stands for, or None if it is a success.

    A 200 can carry an error, too: then it is one of the store's own making.
    """
    found = _CODE.search(body) if b"<Error" in body else None
    code = found[1].decode() if found else str(status)
    if 200 <= status < 300:
        return None if b"<Error" not in body else from_answer(500, code, where, headers)
    return from_answer(status, code, where, headers)


def bad_request(where: str, reason: str) -> Usage:
    """The caller's own mistake, found before anything was sent."""
    return Usage(f"{where}: {reason}", hint="check the bucket's name and s3.endpoint_url")


def _pause(headers: Mapping[str, str]) -> dict[str, float]:
    text = headers.get("retry-after", "").strip()
    return {"retry_after_seconds": float(text)} if text.isascii() and text.isdigit() and len(text) < 6 else {}
