"""Overview: the state of the daemon from memory alone, for people and for probes."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cachemgr.library.answers import Check, Status, TierUse, timestamp
from cachemgr.library.holding import Holding
from cachemgr.library.shelf import Shelf
from cachemgr.library.transfers import Transfers
from cachemgr.library.wanted import Wanted


@dataclass(frozen=True, slots=True)
class Identity:
    """Which daemon this is: its version, its worker, and when it started (seconds since 1970)."""

    version: str
    worker: str
    started_at: float


class Overview:
    """None of its answers touches a file."""

    def __init__(
        self,
        identity: Identity,
        shelves: Sequence[Shelf],
        kinds: Mapping[str, str],
        wanted: Wanted,
        transfers: Transfers,
        holding: Holding,
    ) -> None:
        """`kinds`: for each tier, what its file system is."""
        self._identity = identity
        self._shelves = shelves
        self._kinds = kinds
        self._wanted = wanted
        self._transfers = transfers
        self._holding = holding

    def status(self) -> Status:
        """The whole daemon on one page."""
        return Status(
            version=self._identity.version,
            pid=os.getpid(),
            worker=self._identity.worker,
            started_at=timestamp(self._identity.started_at),
            uptime_seconds=round(time.time() - self._identity.started_at, 3),
            tiers=tuple(self.df()),
            models=self._wanted.states(),
            transfers=tuple(transfer.view() for transfer in self._transfers.list()),
            holds=len(self._holding),
        )

    def df(self) -> list[TierUse]:
        """How full each tier is, as last measured, the fastest first."""
        return [self._use(shelf) for shelf in self._shelves]

    def readiness(self) -> list[Check]:
        """One check for each tier: this answers whether requests can be served, not whether models are there."""
        checks = []
        for shelf in self._shelves:
            text = f"{shelf.tier.root} ({self._kinds[shelf.name]})"
            checks.append(Check(f"tier {shelf.name}", True, text if shelf.tier.writable else f"{text}, read-only"))
        if not any(shelf.tier.writable for shelf in self._shelves):
            checks.append(Check("tiers", False, "no tier can be written: nothing new can be pulled"))
        return checks

    def _use(self, shelf: Shelf) -> TierUse:
        usage, marks = shelf.space.usage(), shelf.space.marks
        free_bytes = usage.free_bytes
        if shelf.name == "volume" and marks.hard_bytes is not None:
            # A network volume reports the size of the whole cluster: what the quota leaves is what there is.
            free_bytes = min(free_bytes, max(0, marks.hard_bytes - usage.used_bytes - usage.reserved_bytes))
        return TierUse(
            tier=shelf.name,
            path=str(shelf.tier.root),
            kind=self._kinds[shelf.name],
            used_bytes=usage.used_bytes,
            reserved_bytes=usage.reserved_bytes,
            free_bytes=free_bytes,
            low_bytes=marks.low_bytes,
            high_bytes=marks.high_bytes,
            hard_bytes=marks.hard_bytes,
        )
