"""Request bodies and queries: strict, bounded, and with no member that is not known."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cachemgr.domain.errors import Usage

M = TypeVar("M", bound=BaseModel)

_LONGEST_SECONDS = 30 * 86400.0
_MEMBER = re.compile(r"[a-z][a-z_]{0,23}")

Seconds = Annotated[float, Field(ge=0, le=_LONGEST_SECONDS)]
Tier = Literal["disk", "volume"]
RefText = Annotated[str, Field(min_length=1, max_length=2048, description="hf://org/name[@revision][/path]")]
Patterns = Annotated[list[Annotated[str, Field(min_length=1, max_length=1024)]], Field(max_length=1000)]
Directory = Annotated[str, Field(max_length=4096, pattern=r"^/[^\x00]*$", description="an absolute path")]
# No user:password@host: what stands here is logged and listed.
Bucket = Annotated[str, Field(max_length=2048, pattern=r"^s3://[A-Za-z0-9._-]+(/[^\x00-\x1f?#]*)?$")]
Name = Annotated[str, Field(min_length=1, max_length=255)]


class _Body(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True, defer_build=True
    )


class Nothing(_Body):
    """No members."""


class AcquireBody(_Body):
    """A model, and how long to wait for it and to hold it."""

    ref: RefText
    wait: bool | Seconds = Field(default=True, description="true: as long as it takes; false: only if it is there")
    hold_seconds: Seconds = Field(default=600, description="0: no hold")
    tier: Literal["any", "disk", "volume"] = "any"
    max_age: Seconds | None = Field(default=None, description="ask the origin if the ref was resolved longer ago")
    timeout: Seconds | None = Field(default=None, description="answer within so many seconds in any case")


class RenewBody(_Body):
    """The new deadline of a hold, from now."""

    seconds: Annotated[float, Field(gt=0, le=_LONGEST_SECONDS)]


class PrefetchBody(_Body):
    """A model, and the tier it is wanted on."""

    ref: RefText
    tier: Tier = "volume"
    include: Patterns = []
    exclude: Patterns = []
    allow_stale: bool = Field(default=False, description="the newest verified copy will do if the origin is away")


class EvictBody(_Body):
    """What to remove from a tier: one model, or the least recently used ones."""

    tier: Tier = "disk"
    ref: RefText | None = None
    bytes: Annotated[int, Field(ge=0, lt=2**63)] | None = Field(default=None, description="null: down to low")
    dry_run: bool = False


class VerifyBody(_Body):
    """What to read again; null means all."""

    ref: RefText | None = None
    tier: Tier | None = None


class PushBody(_Body):
    """A directory, and where to publish it."""

    directory: Directory
    to: Bucket
    name: Name | None = None


class PullBody(_Body):
    """A published checkpoint (null: the newest), and the directory to restore it into."""

    source: Bucket
    directory: Directory
    name: Name | None = None


class _Query(BaseModel):
    # Not strict: everything in a query is text.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)


class NoQuery(_Query):
    """No parameters."""


class TierQuery(_Query):
    """Narrowed to one tier."""

    tier: Tier | None = None


class RemoveQuery(_Query):
    """From one tier, or from all."""

    tier: Tier | None = None
    dry_run: bool = False


class AtQuery(_Query):
    """Where checkpoints were published."""

    at: Bucket


def read_body(model: type[M], raw: bytes) -> M:
    """The body as `model`; an empty one counts as `{}`. Raises Usage that names what is wrong and repeats no value."""
    try:
        return model.model_validate_json(raw.strip() or b"{}")
    except ValidationError as error:
        raise _usage(model, error, "the body") from None


def read_query(model: type[M], pairs: Iterable[tuple[str, str]]) -> M:
    """The query as `model`; raises Usage that names what is wrong and repeats no value."""
    given: dict[str, str] = {}
    for name, value in pairs:
        if name in given:
            raise Usage("a parameter is given twice", hint=_hint(model))
        given[name] = value
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise _usage(model, error, "the query") from None


def _usage(model: type[BaseModel], error: ValidationError, where: str) -> Usage:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return Usage(
        f"{where}: " + "; ".join(_sentence(model, fault["type"], fault["loc"], fault["msg"]) for fault in faults[:3]),
        hint=_hint(model),
    )


def _sentence(model: type[BaseModel], kind: str, place: tuple[int | str, ...], message: str) -> str:
    if kind == "extra_forbidden":
        return _unknown(model.model_fields, str(place[-1]))
    if kind == "json_invalid":
        return "is not valid JSON"
    member = str(place[0]) if place else ""
    return f"{member}: {_lower(message)}" if member else _lower(message)


def _unknown(known: Mapping[str, object], name: str) -> str:
    # A value that slipped into the place of a name may be a secret: only what looks like a name is repeated.
    if not _MEMBER.fullmatch(name):
        return "there is an unknown member"
    near = difflib.get_close_matches(name, known, n=1)
    return f"{name} is not known" + (f" (did you mean {near[0]}?)" if near else "")


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def _hint(model: type[BaseModel]) -> str:
    names = ", ".join(model.model_fields)
    return f"known here: {names}" if names else "nothing is expected here"
