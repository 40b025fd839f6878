"""Buckets by name: opened when they are first asked for, one client per store."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from cachemgr.aio.iopool import IoPool
from cachemgr.aio.retry import Retry
from cachemgr.bucket.access import Access
from cachemgr.moving.plane import DataPlane

if TYPE_CHECKING:
    from cachemgr.bucket.bucket import Bucket
    from cachemgr.bucket.session import Store


class Buckets:
    """Opens buckets; `access` says how each is reached. To be closed on the loop that it was used on."""

    def __init__(
        self, access: Callable[[str], Access], plane: DataPlane, pool: IoPool, retry: Retry | None = None
    ) -> None:
        self._access = access
        self._plane = plane
        self._pool = pool
        self._retry = retry or Retry()
        self._opening = asyncio.Lock()
        self._stores: dict[Access, Store] = {}
        self._buckets: dict[str, Bucket] = {}
        self._stack = AsyncExitStack()

    async def open(self, name: str) -> Bucket:
        """The bucket of this name; nothing is asked of the store yet. Raises Usage if its store cannot be opened."""
        async with self._opening:
            if name not in self._buckets:
                self._buckets[name] = await self._open(name)
            return self._buckets[name]

    async def close(self) -> None:
        """Close all connections."""
        async with self._opening:
            self._buckets.clear()
            self._stores.clear()
            await self._stack.aclose()

    async def _open(self, name: str) -> Bucket:
        # The SDK costs a third of a second and 35 MiB: only those pay who use S3, and not on the event loop.
        await self._pool.run(importlib.import_module, "cachemgr.bucket.bucket")
        from cachemgr.bucket.bucket import Bucket  # noqa: PLC0415 - in memory now
        from cachemgr.bucket.line import Line  # noqa: PLC0415 - in memory now
        from cachemgr.bucket.session import open_store  # noqa: PLC0415 - in memory now

        access = self._access(name)
        if access not in self._stores:
            self._stores[access] = await open_store(access, self._pool, self._stack)
        return Bucket(Line(name, self._stores[access], self._retry), self._plane)
