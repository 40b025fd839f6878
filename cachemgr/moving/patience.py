"""How long to wait for an origin, and how often to ask again."""

from __future__ import annotations

import random
from dataclasses import dataclass


class Broken(Exception):
    """An attempt failed in a way that another one may not: refused, reset, stalled, cut short, 429 or 5xx."""

    def __init__(self, reason: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class Patience:
    """Time-outs are on no progress, never on the whole; attempts are counted anew after each real progress."""

    connect_seconds: float = 10.0
    stall_seconds: float = 30.0
    attempts: int = 5
    backoff_seconds: float = 0.25
    longest_wait_seconds: float = 10.0

    def pause(self, failures: int, broken: Broken) -> float:
        """How long to wait after the n-th failure in a row: what the origin asked for, else doubling, jittered."""
        seconds = broken.retry_after_seconds
        if seconds is None:
            seconds = self.backoff_seconds * 2 ** (failures - 1) * random.uniform(0.5, 1.5)
        return min(seconds, self.longest_wait_seconds)
