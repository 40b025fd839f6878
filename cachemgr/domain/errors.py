"""Every error a caller can meet: a stable code, one sentence of what happened, and a hint."""

from __future__ import annotations

from typing import ClassVar


class CachemgrError(Exception):
    """Something a caller is told about.

    `code` is public and stable; `retryable` is read by the retry layer and by nobody else; `fields` are
    further members of the problem document (plain JSON values, never a secret).
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False
    default_hint: ClassVar[str] = "this is a fault of cachemgr: please report it with the daemon's log"

    def __init__(self, detail: str, *, hint: str | None = None, **fields: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = self.default_hint if hint is None else hint
        self.fields = fields


class Usage(CachemgrError):
    """The request itself is malformed; asking again unchanged cannot help."""

    code = "usage"
    default_hint = "see `cachemgr --help`"


class Unauthorized(CachemgrError):
    """The origin or the API wants a credential that was not given or is not good enough."""

    code = "unauthorized"
    default_hint = "set HF_TOKEN to a token that may read this repository"


class NotFound(CachemgrError):
    """What was named does not exist there."""

    code = "not_found"
    default_hint = "check the name and the revision"


class DeadlineExceeded(CachemgrError):
    """The caller's deadline passed first; the work may still go on for others."""

    code = "timeout"
    default_hint = "ask again, or give a longer deadline"


class NoSpace(CachemgrError):
    """A tier cannot take the bytes, even after evicting all that may be evicted."""

    code = "no_space"
    default_hint = "release holds or pins, or raise disk.hard"

    def __init__(
        self,
        detail: str,
        *,
        needed_bytes: int,
        free_bytes: int,
        evictable_bytes: int,
        hint: str | None = None,
        **fields: object,
    ) -> None:
        super().__init__(
            detail,
            hint=hint,
            needed_bytes=needed_bytes,
            free_bytes=free_bytes,
            evictable_bytes=evictable_bytes,
            **fields,
        )


class VerificationFailed(CachemgrError):
    """Bytes differ from what their origin, or their seal, says they are."""

    code = "verification_failed"
    default_hint = "the bytes are in quarantine and nothing was sealed; pull again"


class OriginUnavailable(CachemgrError):
    """The origin does not answer, or answers with an error of its own."""

    code = "origin_unavailable"
    retryable = True
    default_hint = "try again; `--allow-stale` answers with the newest verified copy"


class Held(CachemgrError):
    """What should be removed or taken is in use."""

    code = "held"
    default_hint = "wait until its readers are done, or unpin it"


class TierUnavailable(CachemgrError):
    """A tier cannot be read or written: read-only, unmounted, or of a newer layout."""

    code = "tier_unavailable"
    default_hint = "check that the path is mounted and writable"
