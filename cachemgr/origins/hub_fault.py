"""What went wrong at a hub, in our words: which error it is, and a text that carries no secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cachemgr.domain.errors import CachemgrError, NotFound, OriginUnavailable, Unauthorized, Usage
from cachemgr.domain.ref import Ref

_QUERY = re.compile(r"(https?://[^\s?\"'<>]*)\?[^\s\"'<>]*")
_LIKE_A_TOKEN = re.compile(r"(\b(?i:bearer)\s+|\bhf_|\bapi_)[A-Za-z0-9._~+/=-]{8,}")
_TOKEN = re.compile(r"[!-~]+")
_TEXT = 300


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked, where, and whether a token was sent."""

    ref: Ref
    endpoint: str
    with_token: bool


@dataclass(frozen=True, slots=True)
class HubFault:
    """What the hub's client says went wrong; `text` is the hub's or the library's, redacted."""

    kind: str
    status: int | None
    text: str
    wait_seconds: int | None

    @classmethod
    def parse(cls, raw: Mapping[str, object], token: str | None) -> HubFault:
        """Read a client's report, trusting nothing."""
        status, wait = raw.get("status"), raw.get("wait_seconds")
        return cls(
            str(raw.get("kind")),
            status if isinstance(status, int) else None,
            redacted(str(raw.get("text") or ""), token),
            wait if isinstance(wait, int) else None,
        )

    def for_people(self, asked: Question) -> CachemgrError:
        """The error that a caller gets."""
        make = _BY_STATUS.get(self.status or 0) if self.kind == "status" else _BY_KIND.get(self.kind)
        return (make or _other)(self, asked)

    @property
    def quoted(self) -> str:
        """`: text`, or nothing."""
        return f": {self.text}" if self.text else ""


def redacted(text: str, token: str | None) -> str:
    """The text on one line without the token, anything that looks like one, and the queries of URLs."""
    text = text.replace(token, "***") if token else text
    text = _LIKE_A_TOKEN.sub(r"\1***", _QUERY.sub(r"\1?***", text))
    text = " ".join(text.split())
    return text if len(text) <= _TEXT else text[:_TEXT] + "..."


def checked_token(token: str | None) -> str | None:
    """The token, if it can be one; raises Unauthorized for what a header cannot carry, without showing it."""
    if token is not None and not _TOKEN.fullmatch(token):
        raise Unauthorized("the token contains characters that no token has", hint="set HF_TOKEN again")
    return token


def _bad_name(fault: HubFault, asked: Question) -> CachemgrError:
    return Usage(f"{asked.ref} names no repository{fault.quoted}", hint="write hf://org/name[@revision]")


def _no_revision(fault: HubFault, asked: Question) -> CachemgrError:
    return NotFound(f"{asked.ref.name} has no revision {asked.ref.revision!r}")


def _gated(fault: HubFault, asked: Question) -> CachemgrError:
    where = f"ask for access at {asked.endpoint}/{asked.ref.name}"
    if asked.with_token:
        return Unauthorized(f"{asked.ref.name} is gated and the owner of the token was not let in", hint=where)
    return Unauthorized(f"{asked.ref.name} is gated and no token was given", hint=f"{where}, then set HF_TOKEN")


def _no_repo(fault: HubFault, asked: Question) -> CachemgrError:
    if fault.status == 401 and asked.with_token:
        # With a good token the hub answers 404; the library takes any 401 for a missing repository.
        return _refused(fault, asked)
    # The hub does not say which: who may not see a repository is not told that it exists.
    or_else = "the token may not read it" if asked.with_token else "it is private and no token was given"
    hint = "check the name; a private repository needs HF_TOKEN with the right to read it"
    return NotFound(f"the hub at {asked.endpoint} has no repository {asked.ref.name}, or {or_else}", hint=hint)


def _refused(fault: HubFault, asked: Question) -> CachemgrError:
    if not asked.with_token:
        return Unauthorized(f"the hub at {asked.endpoint} wants a token for {asked.ref.name}")
    hint = "set HF_TOKEN to a valid token, or to none for public repositories"
    return Unauthorized(f"the hub at {asked.endpoint} does not accept the token", hint=hint)


def _forbidden(fault: HubFault, asked: Question) -> CachemgrError:
    hint = "the token's owner or its permissions do not reach this repository"
    return Unauthorized(f"the hub at {asked.endpoint} forbids {asked.ref.name}{fault.quoted}", hint=hint)


def _unknown(fault: HubFault, asked: Question) -> CachemgrError:
    return NotFound(f"the hub at {asked.endpoint} does not know {asked.ref}{fault.quoted}")


def _limited(fault: HubFault, asked: Question) -> CachemgrError:
    wait = "" if fault.wait_seconds is None else f"; it asks us to wait {fault.wait_seconds} s"
    return OriginUnavailable(
        f"the hub at {asked.endpoint} limits our requests (429){wait}",
        hint="try again later; requests with a token have a higher limit",
        status=429,
        retry_after_seconds=fault.wait_seconds,
    )


def _elsewhere(fault: HubFault, asked: Question) -> CachemgrError:
    text = f"the hub at {asked.endpoint} refers us to another origin, {fault.text}"
    return OriginUnavailable(text, hint="set HF_ENDPOINT to that origin if you trust it")


def _unreachable(fault: HubFault, asked: Question) -> CachemgrError:
    return OriginUnavailable(f"the hub at {asked.endpoint} cannot be reached{fault.quoted}")


def _broken(fault: HubFault, asked: Question) -> CachemgrError:
    return OriginUnavailable(f"the hub's client failed{fault.quoted}", hint="this may be a setting of the hub library")


def _other(fault: HubFault, asked: Question) -> CachemgrError:
    if fault.status is not None:
        text = f"the hub at {asked.endpoint} answers {fault.status}{fault.quoted}"
        return OriginUnavailable(text, status=fault.status)
    return OriginUnavailable(f"the hub at {asked.endpoint} gave an answer that is not understood{fault.quoted}")


_Make = Callable[[HubFault, Question], CachemgrError]
_BY_KIND: dict[str, _Make] = {
    "bad_name": _bad_name,
    "no_revision": _no_revision,
    "gated": _gated,
    "no_repo": _no_repo,
    "elsewhere": _elsewhere,
    "unreachable": _unreachable,
    "broken": _broken,
}
_BY_STATUS: dict[int, _Make] = {401: _refused, 403: _forbidden, 404: _unknown, 429: _limited}
