"""Acquire: a verified directory for a ref, held, from the fastest tier that has it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from cachemgr.domain.errors import CachemgrError, DeadlineExceeded, NoSpace, NotFound, TierUnavailable, Usage
from cachemgr.domain.manifest import Manifest
from cachemgr.domain.ref import Ref
from cachemgr.library.answers import Answer, TransferKind, timestamp
from cachemgr.library.holding import Holding
from cachemgr.library.pull import Puller, Wish
from cachemgr.library.resolve import Resolution, Resolver, narrowed
from cachemgr.library.shelf import Shelf, within
from cachemgr.library.transfers import Transfer, Transfers
from cachemgr.metrics import Metrics

_LOOKS = 3


class Acquirer:
    """Answers from what is sealed; what is not there is brought by a transfer that all its callers share."""

    def __init__(
        self,
        shelves: Sequence[Shelf],
        resolver: Resolver,
        puller: Puller,
        transfers: Transfers,
        holding: Holding,
        metrics: Metrics,
    ) -> None:
        self._fastest_first = shelves
        self._resolver = resolver
        self._puller = puller
        self._transfers = transfers
        self._holding = holding
        self._metrics = metrics
        self._under_way: dict[tuple[str, str, bool], Transfer] = {}

    async def acquire(
        self,
        ref: Ref,
        *,
        wait_seconds: float | None,
        hold_seconds: float,
        tier: str,
        max_age_seconds: float | None,
    ) -> Answer:
        """Where the model is, held for `hold_seconds` (0: not held), on `tier` (disk, volume, or any: the fastest).

        `wait_seconds` None waits as long as it takes, 0 only looks: NotFound. Raises DeadlineExceeded, and what a pull
        raises. With `any`, a disk that cannot take it in time is no error: the answer is the volume's path. With the
        origin away, an answer older than `max_age_seconds` is marked stale.
        """
        if tier not in ("any", "disk", "volume"):
            raise Usage(f"there is no tier {tier!r}", hint="any, disk or volume")
        try:
            if tier not in ("any", *(shelf.name for shelf in self._fastest_first)):
                raise TierUnavailable(f"there is no {tier} tier here", hint="`cachemgr df` shows the tiers")
            answer, result = await self._answer(ref, wait_seconds, hold_seconds, tier, max_age_seconds)
        except NotFound:
            self._metrics.requests.labels("miss").inc()
            raise
        except CachemgrError:
            self._metrics.requests.labels("error").inc()
            raise
        self._metrics.requests.labels(result).inc()
        return answer

    async def _answer(
        self, ref: Ref, wait_seconds: float | None, hold_seconds: float, tier: str, max_age_seconds: float | None
    ) -> tuple[Answer, str]:
        known = await self._resolver.recall(ref)
        outdated = known is not None and max_age_seconds is not None and _age(ref, known) > max_age_seconds
        look = wait_seconds == 0
        if known is not None and not outdated:
            goal = tier if look or tier != "any" else self._best
            answer = await self._look(ref, known, goal, hold_seconds)
            if answer is not None:
                return answer, "hit_disk" if answer.tier == "disk" else "hit_volume"
        if look:
            raise NotFound(f"{ref} is not here", hint=f"`cachemgr pull {ref}` brings it")
        answer = await self._bring(ref, wait_seconds, hold_seconds, tier, outdated)
        unchanged = known is not None and answer.resolved_at == timestamp(known.resolved_at)
        return replace(answer, stale=outdated and unchanged), "miss"

    @property
    def _best(self) -> str:
        """The tier that `any` would like best: the disk, where there is one that can be written."""
        return next((shelf.name for shelf in self._fastest_first if shelf.tier.writable), "any")

    def _writable(self, tier: str) -> bool:
        return any(shelf.tier.writable for shelf in self._fastest_first if shelf.name == tier)

    async def _bring(self, ref: Ref, wait: float | None, hold_seconds: float, tier: str, fresh: bool) -> Answer:
        goal = self._best if tier == "any" else tier
        deadline = None if wait is None else time.monotonic() + wait
        for _ in range(_LOOKS):
            transfer = self._transfer(ref, "volume" if goal == "any" else goal, fresh)
            trouble = await _ended(transfer, None if deadline is None else max(0.0, deadline - time.monotonic()))
            if trouble is not None and tier != "any":
                raise trouble
            known = await self._resolver.recall(ref)
            answer = None if known is None else await self._look(ref, known, tier, hold_seconds)
            if answer is not None:
                return answer
            if isinstance(trouble, NoSpace) and goal == "disk" and len(self._fastest_first) > 1:
                goal = "volume"  # the disk cannot take it, perhaps the volume can
            elif trouble is not None:
                raise trouble
            elif tier == "volume" and not self._writable("volume"):
                raise TierUnavailable(f"{ref} is not on the volume, which is read-only", hint="ask for any tier")
        raise NoSpace(
            f"{ref} was evicted each time before it could be held",
            needed_bytes=0,
            free_bytes=self._fastest_first[0].space.usage().free_bytes,
            evictable_bytes=0,
        )

    def _transfer(self, ref: Ref, tier: str, fresh: bool) -> Transfer:
        key = (str(ref), tier, fresh)
        running = self._under_way.get(key)
        if running is None or running.final:
            wish = Wish(ref, tier, allow_stale=fresh, fresh=fresh)
            kind: TransferKind = "promote" if tier == "disk" else "pull"
            running = self._transfers.start(kind, str(ref), lambda transfer: self._puller.pull(wish, transfer))
            self._under_way[key] = running
            self._forget_ended()
        return running

    def _forget_ended(self) -> None:
        self._under_way = {key: transfer for key, transfer in self._under_way.items() if not transfer.final}

    async def _look(self, ref: Ref, known: Resolution, tier: str, hold_seconds: float) -> Answer | None:
        wanted = narrowed(known.manifest, ref)
        for shelf in self._fastest_first:
            if tier in ("any", shelf.name):
                answer = await self._from(shelf, ref, known, wanted, hold_seconds)
                if answer is not None:
                    return answer
        return None

    async def _from(
        self, shelf: Shelf, ref: Ref, known: Resolution, wanted: Manifest, hold_seconds: float
    ) -> Answer | None:
        # The hold comes first, then the look at the seal: the other way round an eviction fits in between.
        hold = await shelf.holds.take(wanted.id)
        name = expires_at = None
        try:
            sealed = await shelf.find(wanted.id)
            if sealed is None or not sealed.manifest.covers(wanted):
                return None
            await shelf.tier.uses.touch(wanted.id)
            if hold_seconds > 0:
                name, expires_at = self._holding.grant(hold, wanted.id, hold_seconds)
        finally:
            if name is None:
                hold.release()
        return Answer(
            ref=str(ref),
            id=wanted.id,
            revision=wanted.revision,
            path=str(within(sealed, ref.path)),
            tier=shelf.name,
            hold=name,
            expires_at=expires_at,
            resolved_at=timestamp(known.resolved_at),
            stale=known.stale,
        )


async def _ended(transfer: Transfer, wait_seconds: float | None) -> CachemgrError | None:
    """Wait for a transfer that others may share; return what went wrong, a passed deadline included."""
    await transfer.wait(wait_seconds)
    if transfer.final:
        return transfer.failure()
    done = transfer.view().done_bytes
    return DeadlineExceeded(f"{transfer.ref} was not ready in time", transfer=transfer.id, done=done)


def _age(ref: Ref, known: Resolution) -> float:
    return 0.0 if ref.fixed else time.time() - known.resolved_at
