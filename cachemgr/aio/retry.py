"""The one retry layer: it asks again while an error says of itself that asking again may help."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from cachemgr.domain.errors import CachemgrError

log = logging.getLogger(__name__)

T = TypeVar("T")


def _note(details: RetryDetails) -> None:
    log.debug("asking again", extra={"attempt": details.retry_num, "seconds": round(details.wait_for, 3)})


# The library's own hooks write the arguments of what failed into the log and count on a registry that is not ours.
set_on_retry_hooks([_note])


class Retry:
    """Runs work up to `attempts` times in all, with doubling, jittered pauses.

    Only a `CachemgrError` whose `retryable` is true is tried again; one with a field `retry_after_seconds` is obeyed
    up to the longest pause. Whether the work may be done twice is its caller's business.
    """

    def __init__(
        self, attempts: int = 5, *, first_pause_seconds: float = 0.2, longest_pause_seconds: float = 10.0
    ) -> None:
        self._longest = longest_pause_seconds
        self._caller = stamina.AsyncRetryingCaller(
            attempts=attempts,
            timeout=None,
            wait_initial=first_pause_seconds,
            wait_max=longest_pause_seconds,
            wait_jitter=first_pause_seconds,
        )

    async def __call__(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `work()`; raises the error of its last attempt."""
        return await self._caller(self._verdict, work)

    def _verdict(self, error: Exception) -> bool | float:
        if not isinstance(error, CachemgrError) or not error.retryable:
            return False
        asked_for = error.fields.get("retry_after_seconds")
        return min(asked_for, self._longest) if isinstance(asked_for, int | float) else True
