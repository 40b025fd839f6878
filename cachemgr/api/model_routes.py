"""Routes for models: acquire and hold, list, pin, remove, evict, prefetch, verify."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass

from cachemgr.api.ports import Models, Movers
from cachemgr.api.routing import Call, Route, route
from cachemgr.api.schemas import (
    AcquireBody,
    EvictBody,
    NoQuery,
    Nothing,
    PrefetchBody,
    RemoveQuery,
    RenewBody,
    TierQuery,
    VerifyBody,
)
from cachemgr.domain.errors import CachemgrError, DeadlineExceeded, NotFound, Usage
from cachemgr.domain.ref import Ref
from cachemgr.library.answers import Answer, Listed, Removed, TransferView
from cachemgr.library.transfers import Transfers

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%-]{0,1023}")
_HOLD = re.compile(r"[!-.0-~]{1,512}")


@dataclass(frozen=True, slots=True)
class Renewed:
    """A hold and its new deadline."""

    hold: str
    expires_at: str


class ModelRoutes:
    """What can be asked about models."""

    def __init__(self, models: Models, movers: Movers, transfers: Transfers) -> None:
        self._models = models
        self._movers = movers
        self._transfers = transfers

    def table(self) -> list[Route]:
        """The routes."""
        none, tier = (NoQuery, Nothing), (TierQuery, Nothing)
        return [
            route(
                "POST /v1/models/acquire", "A verified directory, held", self._acquire, (NoQuery, AcquireBody), Answer
            ),
            route("POST /v1/holds/{id}/renew", "Move a hold's deadline", self._renew, (NoQuery, RenewBody), Renewed),
            route("DELETE /v1/holds/{id}", "End a hold", self._release, none, None, 204),
            route("GET /v1/models", "What is on the tiers", self._list, tier, list[Listed]),
            route("GET /v1/models/{id}", "One model (id or ref) on each tier", self._show, tier, list[Listed]),
            route("DELETE /v1/models/{id}", "Remove a model", self._remove, (RemoveQuery, Nothing), Removed),
            route("PUT /v1/models/{id}/pin", "Protect a model until unpinned", self._pin, tier, list[Listed]),
            route("DELETE /v1/models/{id}/pin", "End that protection", self._unpin, tier, list[Listed]),
            route(
                "POST /v1/models/prefetch",
                "Bring a model to a tier",
                self._prefetch,
                (NoQuery, PrefetchBody),
                TransferView,
                202,
            ),
            route("POST /v1/evict", "Make room on a tier", self._evict, (NoQuery, EvictBody), Removed),
            route("POST /v1/verify", "Read everything again", self._verify, (NoQuery, VerifyBody), TransferView, 202),
        ]

    async def _acquire(self, call: Call[NoQuery, AcquireBody]) -> Answer:
        asked, ref = call.body, Ref.parse(call.body.ref)
        wait = _wait_seconds(asked)
        try:
            async with asyncio.timeout(asked.timeout) as deadline:
                answer = await self._models.acquire(
                    ref,
                    wait_seconds=wait,
                    hold_seconds=asked.hold_seconds,
                    tier=asked.tier,
                    max_age_seconds=asked.max_age,
                )
        except TimeoutError:
            if not deadline.expired():
                raise  # of the operating system, not ours
            raise DeadlineExceeded(f"{ref} was not answered within {asked.timeout} s") from None
        if answer.hold is not None and call.gone():
            await self._release_quietly(answer.hold)
        return answer

    async def _release_quietly(self, hold: str) -> None:
        # Nobody will ever renew or release a hold whose answer has no reader.
        with contextlib.suppress(CachemgrError):
            await self._models.release(hold)

    async def _renew(self, call: Call[NoQuery, RenewBody]) -> Renewed:
        hold = _hold(call.path["id"])
        return Renewed(hold, await self._models.renew(hold, call.body.seconds))

    async def _release(self, call: Call[NoQuery, Nothing]) -> None:
        await self._models.release(_hold(call.path["id"]))

    async def _list(self, call: Call[TierQuery, Nothing]) -> list[Listed]:
        return await self._models.listed(call.query.tier, None)

    async def _show(self, call: Call[TierQuery, Nothing]) -> list[Listed]:
        id = _id_or_ref(call.path["id"])
        found = await self._models.listed(call.query.tier, id)
        if not found:
            raise NotFound(f"{id[:200]} is not here", hint="`GET /v1/models` lists what is")
        return found

    async def _remove(self, call: Call[RemoveQuery, Nothing]) -> Removed:
        return await self._models.remove(_id_or_ref(call.path["id"]), call.query.tier, call.query.dry_run)

    async def _pin(self, call: Call[TierQuery, Nothing]) -> list[Listed]:
        return await self._models.pin(_id_or_ref(call.path["id"]), call.query.tier)

    async def _unpin(self, call: Call[TierQuery, Nothing]) -> list[Listed]:
        return await self._models.unpin(_id_or_ref(call.path["id"]), call.query.tier)

    async def _prefetch(self, call: Call[NoQuery, PrefetchBody]) -> TransferView:
        asked, ref = call.body, Ref.parse(call.body.ref)
        job = self._movers.prefetch(ref, asked.tier, asked.include, asked.exclude, asked.allow_stale)
        return self._transfers.start("promote" if asked.tier == "disk" else "pull", str(ref), job).view()

    async def _evict(self, call: Call[NoQuery, EvictBody]) -> Removed:
        asked = call.body
        ref = None if asked.ref is None else Ref.parse(asked.ref)
        return await self._models.evict(asked.tier, ref, asked.bytes, asked.dry_run)

    async def _verify(self, call: Call[NoQuery, VerifyBody]) -> TransferView:
        ref = None if call.body.ref is None else Ref.parse(call.body.ref)
        job = self._movers.verify(ref, call.body.tier)
        return self._transfers.start("verify", "everything" if ref is None else str(ref), job).view()


def _wait_seconds(asked: AcquireBody) -> float | None:
    if asked.wait is True:
        return asked.timeout
    wait = 0.0 if asked.wait is False else float(asked.wait)
    return wait if asked.timeout is None else min(wait, asked.timeout)


def _id_or_ref(text: str) -> str:
    """An id as it may stand in a file name, or a ref in its one spelling; raises Usage."""
    if "://" in text:
        return str(Ref.parse(text))
    if not _ID.fullmatch(text):
        raise Usage(f"{text[:120]!r} is neither the id of a snapshot nor a ref", hint="`GET /v1/models` lists the ids")
    return text


def _hold(text: str) -> str:
    if not _HOLD.fullmatch(text):
        raise Usage("that is not the name of a hold", hint="`acquire` answers with one")
    return text
