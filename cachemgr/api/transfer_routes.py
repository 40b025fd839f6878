"""Routes for movements under way, and for the checkpoints that start some."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from cachemgr.api.ports import Checkpoints
from cachemgr.api.routing import Call, Route, route
from cachemgr.api.schemas import AtQuery, NoQuery, Nothing, PullBody, PushBody
from cachemgr.library.answers import TransferView
from cachemgr.library.transfers import Transfers

_CANCEL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that goes on: each view is one server-sent event."""

    views: AsyncGenerator[TransferView, None]


class TransferRoutes:
    """What can be asked about transfers."""

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers

    def table(self) -> list[Route]:
        """The routes."""
        none = (NoQuery, Nothing)
        return [
            route("GET /v1/transfers", "All that are known", self._list, none, list[TransferView]),
            route("GET /v1/transfers/{id}", "One transfer", self._show, none, TransferView),
            route("DELETE /v1/transfers/{id}", "Cancel a transfer", self._cancel, none, TransferView),
            route("GET /v1/transfers/{id}/events", "Its progress, to its end", self._events, none, Stream),
        ]

    async def _list(self, call: Call[NoQuery, Nothing]) -> list[TransferView]:
        return [transfer.view() for transfer in self._transfers.list()]

    async def _show(self, call: Call[NoQuery, Nothing]) -> TransferView:
        return self._transfers.get(call.path["id"]).view()

    async def _cancel(self, call: Call[NoQuery, Nothing]) -> TransferView:
        transfer = self._transfers.cancel(call.path["id"])
        # Most end at once; one whose thread is stuck is not worth the caller's time.
        await transfer.wait(_CANCEL_SECONDS)
        return transfer.view()

    async def _events(self, call: Call[NoQuery, Nothing]) -> Stream:
        self._transfers.get(call.path["id"])
        return Stream(self._transfers.events(call.path["id"]))


class CheckpointRoutes:
    """What can be asked about checkpoints."""

    def __init__(self, checkpoints: Checkpoints, transfers: Transfers) -> None:
        self._checkpoints = checkpoints
        self._transfers = transfers

    def table(self) -> list[Route]:
        """The routes."""
        return [
            route(
                "POST /v1/checkpoints/push", "Publish a directory", self._push, (NoQuery, PushBody), TransferView, 202
            ),
            route("POST /v1/checkpoints/pull", "Restore one", self._pull, (NoQuery, PullBody), TransferView, 202),
            route("GET /v1/checkpoints", "What is published", self._list, (AtQuery, Nothing), list[object]),
        ]

    async def _push(self, call: Call[NoQuery, PushBody]) -> TransferView:
        job = self._checkpoints.push(call.body.directory, call.body.to, call.body.name)
        return self._transfers.start("checkpoint_push", call.body.to, job).view()

    async def _pull(self, call: Call[NoQuery, PullBody]) -> TransferView:
        job = self._checkpoints.pull(call.body.source, call.body.directory, call.body.name)
        return self._transfers.start("checkpoint_pull", call.body.source, job).view()

    async def _list(self, call: Call[AtQuery, Nothing]) -> Sequence[object]:
        return await self._checkpoints.listed(call.query.at)
