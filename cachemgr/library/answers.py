"""What callers are told: the values behind every JSON answer, and how an error reads in them."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from cachemgr.domain.errors import CachemgrError

_LATEST = 253_402_300_799.0  # the last second of the year 9999: what RFC 3339 can still write

ModelPhase = Literal["waiting", "pulling", "promoting", "ready", "failed"]
TransferState = Literal["queued", "running", "verifying", "done", "failed", "cancelled"]
TransferKind = Literal["pull", "promote", "verify", "checkpoint_push", "checkpoint_pull"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A verified model's directory, and the hold that keeps it there until `expires_at`."""

    ref: str
    id: str
    revision: str
    path: str
    tier: str
    hold: str | None
    expires_at: str | None
    resolved_at: str | None
    stale: bool


@dataclass(frozen=True, slots=True)
class Pulled:
    """A model that is complete and verified on a tier, and what it took to get there."""

    ref: str
    id: str
    revision: str
    path: str
    tier: str
    bytes: int
    files: int
    fetched_bytes: int
    reused_bytes: int
    seconds: float
    resolved_at: str | None
    stale: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """One snapshot on one tier."""

    id: str
    ref: str
    revision: str
    tier: str
    path: str
    bytes: int
    files: int
    last_used: str | None
    held: bool
    pinned: bool
    adopted: bool


@dataclass(frozen=True, slots=True)
class TierUse:
    """How full a tier is, and its marks, in bytes (a mark that is not set is None)."""

    tier: str
    path: str
    kind: str
    used_bytes: int
    reserved_bytes: int
    free_bytes: int
    low_bytes: int | None
    high_bytes: int | None
    hard_bytes: int | None


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file whose bytes are not what its seal says."""

    tier: str
    id: str
    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Verified:
    """How many files were read again, and which were bad."""

    checked: int
    bad: tuple[BadFile, ...]


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed from a tier, or would be (`dry_run`)."""

    tier: str
    ids: tuple[str, ...]
    freed_bytes: int
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Check:
    """One named condition of being ready, and a sentence on how it stands."""

    name: str
    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class ModelState:
    """How far one of the configured models is; `error` as `problem` writes it."""

    ref: str
    state: ModelPhase
    tier: str | None
    path: str | None
    error: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class TransferView:
    """A movement at one moment; `result` and `error` are plain JSON, and come with the final state."""

    id: str
    kind: TransferKind
    ref: str
    state: TransferState
    total_bytes: int | None
    done_bytes: int
    files: int | None
    files_done: int
    started_at: str
    seconds: float
    result: object
    error: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class Status:
    """The whole daemon on one page."""

    version: str
    pid: int
    worker: str
    started_at: str
    uptime_seconds: float
    tiers: tuple[TierUse, ...]
    models: tuple[ModelState, ...]
    transfers: tuple[TransferView, ...]
    holds: int


def timestamp(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339 in UTC, to the millisecond.

    Any number has an answer: a file's time can be anything, and must not keep a listing from being made.
    """
    within = 0.0 if math.isnan(seconds) else min(max(seconds, 0.0), _LATEST)
    return datetime.fromtimestamp(within, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plain(value: object) -> object:
    """The JSON value (dicts, lists, text, numbers) of an answer, of many, or of what is one already."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    level = value if isinstance(value, (dict, list, tuple)) else shallow(value)
    if isinstance(level, dict):
        return {str(key): plain(item) for key, item in level.items()}
    if isinstance(level, (list, tuple)):
        return [plain(item) for item in level]
    return level


def shallow(value: object) -> object:
    """The outermost level of a value that JSON has no form for: a dict, a list or text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: getattr(value, name) for name in _names(type(value))}
    if isinstance(value, Mapping):
        return dict(value)
    return sorted(value, key=str) if isinstance(value, (set, frozenset)) else str(value)


@functools.cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def problem(error: BaseException) -> dict[str, object]:
    """`{code, detail, hint, ...fields}` of an error; of one that nobody foresaw, no word of its own is passed on.

    Of a group (several files of one model failed at once) the first foreseen error speaks.
    """
    known = foreseen(error)
    if known is None:
        return {"code": CachemgrError.code, "detail": "an internal error", "hint": CachemgrError.default_hint}
    fields = plain(known.fields)
    assert isinstance(fields, dict)
    return {**fields, "code": known.code, "detail": known.detail, "hint": known.hint}


def foreseen(error: BaseException) -> CachemgrError | None:
    """The error if it is one of ours, or the first of ours in a group of errors."""
    if isinstance(error, CachemgrError):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := foreseen(inner)) is not None), None)
    return None
