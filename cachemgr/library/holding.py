"""Holds that this process keeps for its callers: each has a name and a deadline that its caller renews."""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass, replace

from cachemgr.domain.errors import NotFound
from cachemgr.library.answers import timestamp
from cachemgr.library.ports import Hold

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Kept:
    hold: Hold
    snapshot: str
    deadline: float


class Holding:
    """Knows every hold that was handed out; a caller that never comes back loses its hold at the deadline."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def grant(self, hold: Hold, snapshot: str, seconds: float) -> tuple[str, str]:
        """Keep `hold` for so long; return its name and when it ends (RFC 3339)."""
        name = secrets.token_hex(12)
        self._kept[name] = _Kept(hold, snapshot, _now() + seconds)
        return name, timestamp(time.time() + seconds)

    def renew(self, name: str, seconds: float) -> str:
        """Keep it for so long from now on; return when it ends. Raises NotFound once it has ended."""
        self.expire()
        kept = self._kept.get(name)
        if kept is None:
            raise NotFound("this hold has ended", hint="acquire the model again; its path may be gone")
        self._kept[name] = replace(kept, deadline=_now() + seconds)
        return timestamp(time.time() + seconds)

    def release(self, name: str) -> None:
        """End it; raises NotFound if it has ended already."""
        kept = self._kept.pop(name, None)
        if kept is None:
            raise NotFound("this hold has ended already", hint="nothing is left to do")
        kept.hold.release()

    def expire(self) -> None:
        """End those whose deadline has passed."""
        now = _now()
        for name, kept in [*self._kept.items()]:
            if kept.deadline <= now:
                log.warning("hold ran out", extra={"snapshot": kept.snapshot})
                self.release(name)

    def close(self) -> None:
        """End all of them."""
        for name in [*self._kept]:
            self.release(name)

    def __len__(self) -> int:
        return len(self._kept)


def _now() -> float:
    # Time spent frozen counts: a reader that slept past its deadline has no hold any more.
    return time.clock_gettime(time.CLOCK_BOOTTIME)
