"""What callers are told about checkpoints."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint whose manifest is in the bucket.

    `unchanged`: it was the run's newest already, and nothing was written. `data` is where its files lie in the run,
    `manifest` the key of its manifest there.
    """

    name: str
    seq: int
    step: int | None
    to: str
    data: str
    manifest: str
    bytes: int
    files: int
    sent_bytes: int
    copied_bytes: int
    seconds: float
    published_at: str
    unchanged: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """One published checkpoint; `latest` is the one with the highest number."""

    name: str
    seq: int
    step: int | None
    bytes: int
    files: int
    published_at: str
    latest: bool


@dataclass(frozen=True, slots=True)
class Restored:
    """A checkpoint that is complete and verified at `path`; `unchanged`: it was there already."""

    name: str
    seq: int
    step: int | None
    source: str
    path: str
    bytes: int
    files: int
    fetched_bytes: int
    seconds: float
    published_at: str
    unchanged: bool
