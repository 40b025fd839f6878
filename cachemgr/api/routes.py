"""The whole route table, put together from the rooms that can be asked."""

from __future__ import annotations

from collections.abc import Sequence

from cachemgr.api.model_routes import ModelRoutes
from cachemgr.api.openapi import describe
from cachemgr.api.ports import Checkpoints, Models, Movers, Overview
from cachemgr.api.routing import Call, Route, Table, route
from cachemgr.api.schemas import NoQuery, Nothing
from cachemgr.api.transfer_routes import CheckpointRoutes, TransferRoutes
from cachemgr.library.answers import Status, TierUse
from cachemgr.library.transfers import Transfers


class Routes:
    """Everything the API can be asked, and its own description."""

    def __init__(
        self,
        models: Models,
        movers: Movers,
        checkpoints: Checkpoints,
        overview: Overview,
        transfers: Transfers,
        version: str,
    ) -> None:
        self._overview = overview
        self._version = version
        self._described: dict[str, object] | None = None
        self.table = Table(
            [
                *ModelRoutes(models, movers, transfers).table(),
                *TransferRoutes(transfers).table(),
                *CheckpointRoutes(checkpoints, transfers).table(),
                *self._own(),
            ]
        )

    def _own(self) -> Sequence[Route]:
        none = (NoQuery, Nothing)
        return [
            route("GET /v1/df", "How full each tier is", self._df, none, list[TierUse]),
            route("GET /v1/status", "The whole daemon on one page", self._status, none, Status),
            route("GET /openapi.json", "This description", self._describe, none, dict[str, object]),
        ]

    async def _df(self, call: Call[NoQuery, Nothing]) -> list[TierUse]:
        return self._overview.df()

    async def _status(self, call: Call[NoQuery, Nothing]) -> Status:
        return self._overview.status()

    async def _describe(self, call: Call[NoQuery, Nothing]) -> dict[str, object]:
        # Made when first asked for: few ever ask, and it takes memory.
        if self._described is None:
            self._described = describe(self.table.routes, self._version)
        return self._described
