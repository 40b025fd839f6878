"""The models that the configuration names: pulled at start, then promoted in order while they fit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from cachemgr.domain.errors import CachemgrError, NoSpace
from cachemgr.domain.ref import Ref
from cachemgr.library.answers import ModelPhase, ModelState, Pulled, TransferKind, problem
from cachemgr.library.pull import Puller, Wish
from cachemgr.library.transfers import Transfer, Transfers

FIRST_RETRY_SECONDS = 1.0
LAST_RETRY_SECONDS = 60.0


class Wanted:
    """Makes each configured model ready, again and again until it is; says how far each one is."""

    def __init__(self, refs: Sequence[Ref], puller: Puller, transfers: Transfers, disk_bytes: int | None) -> None:
        """`disk_bytes`: how many bytes of configured models the disk is meant for; None means any number."""
        self._puller = puller
        self._transfers = transfers
        self._disk_bytes = disk_bytes
        self._states = {ref: ModelState(str(ref), "waiting", None, None, None) for ref in refs}
        self._sizes: dict[Ref, int] = {}
        self._stale: set[Ref] = set()

    def states(self) -> tuple[ModelState, ...]:
        """One for each configured model, in the order of the configuration."""
        return tuple(self._states.values())

    def stale_count(self) -> int:
        """How many of them are ready but could not be compared with their origin."""
        return len(self._stale)

    async def run(self) -> None:
        """Bring all of them; a failure is told in the model's state and tried again, ever more slowly.

        So is an origin that was away: a model that is ready but stale stays ready meanwhile.
        """
        delay = FIRST_RETRY_SECONDS
        while True:
            left = [ref for ref, state in self._states.items() if state.state != "ready" or ref in self._stale]
            pulled = [ref for ref in left if await self._step(ref, "pulling", "pull", Wish(ref, allow_stale=True))]
            for ref in pulled:
                await self._promote(ref)
            if not self._stale and all(state.state == "ready" for state in self._states.values()):
                return
            await asyncio.sleep(delay)
            delay = min(delay * 2, LAST_RETRY_SECONDS)

    async def _promote(self, ref: Ref) -> None:
        planned = self._planned_before(ref) + self._sizes[ref]
        to_disk = self._states[ref].tier != "disk" and (self._disk_bytes is None or planned <= self._disk_bytes)
        if not to_disk or await self._step(ref, "promoting", "promote", Wish(ref, "disk")):
            self._note(ref, state="ready")

    def _planned_before(self, ref: Ref) -> int:
        """The bytes of the models that the configuration names first: a later one must not push them out again."""
        earlier = [*self._states][: [*self._states].index(ref)]
        return sum(self._sizes.get(other, 0) for other in earlier)

    async def _step(self, ref: Ref, phase: ModelPhase, kind: TransferKind, wish: Wish) -> bool:
        again = self._states[ref].state == "ready"
        if not again:
            self._note(ref, state=phase)
        pulled: list[Pulled] = []

        async def job(transfer: Transfer) -> Pulled:
            pulled.append(await self._puller.pull(wish, transfer))
            return pulled[0]

        trouble = await self._done(kind, ref, job)
        if trouble is None:
            self._arrived(ref, pulled[0], phase)
        elif isinstance(trouble, NoSpace) and phase == "promoting":
            self._note(ref, state="ready")  # on the volume it is ready, too
        elif not again:
            self._note(ref, state="failed", error=problem(trouble))
        return trouble is None

    async def _done(
        self, kind: TransferKind, ref: Ref, job: Callable[[Transfer], Awaitable[Pulled]]
    ) -> CachemgrError | None:
        try:
            transfer = self._transfers.start(kind, str(ref), job)
        except CachemgrError as error:
            return error  # too many are under way: the next round tries again
        await transfer.wait()
        return transfer.failure()

    def _arrived(self, ref: Ref, pulled: Pulled, phase: ModelPhase) -> None:
        if phase == "pulling":  # a promotion does not ask the origin
            (self._stale.add if pulled.stale else self._stale.discard)(ref)
        self._sizes[ref] = pulled.bytes
        self._note(ref, tier=pulled.tier, path=pulled.path, error=None)

    def _note(self, ref: Ref, **changes: object) -> None:
        self._states[ref] = replace(self._states[ref], **changes)  # type: ignore[arg-type]  # names are checked by replace
