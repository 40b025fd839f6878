"""Cleaning up that a cancellation must not interrupt, and that must not keep anybody for ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from cachemgr.domain.errors import CachemgrError

log = logging.getLogger(__name__)


# Any: the send and yield types of a coroutine, which no task has a use for.
async def lastly(work: Coroutine[Any, Any, object], what: str, seconds: float) -> None:
    """Run `work` to its end, but no longer than this, through any cancellation, which goes on afterwards.

    Errors of ours are logged and not raised: this runs where another error, or a result, is on its way.
    """
    task = asyncio.create_task(_bounded(work, what, seconds), name=what)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    failure = None if task.cancelled() else task.exception()
    if cancelled:
        raise asyncio.CancelledError
    if failure is not None:
        raise failure


async def _bounded(work: Coroutine[Any, Any, object], what: str, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        log.warning("cleaning up took too long", extra={"work": what, "seconds": seconds})
    except CachemgrError as error:
        log.warning("cleaning up failed", extra={"work": what, "code": error.code, "detail": error.detail})
