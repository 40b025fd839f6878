"""Sending a range of a file in one signed PUT, again where that may help."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cachemgr.bucket.faults import StoreRefused, from_body
from cachemgr.bucket.line import Line
from cachemgr.bucket.stored import tag
from cachemgr.moving.plane import DataPlane

_UNSIGNED = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends ranges of one file to one key; what an attempt that failed had sent is taken back from `progress`."""

    line: Line
    plane: DataPlane
    key: str
    path: Path
    progress: Callable[[int], None]

    async def put(
        self,
        part: tuple[int, int],
        headers: Mapping[str, str],
        *,
        query: Mapping[str, str] | None = None,
        payload: str = _UNSIGNED,
    ) -> str:
        """Send these `(offset, length)` bytes and return their ETag. To be used where sending twice does no harm.

        Raises VerificationFailed if the store keeps receiving other bytes than `headers` tell the digest of, OSError
        of the file, and what any request may.
        """
        return await self.line.retry(lambda: self._once(part, headers, query, payload))

    async def _once(
        self, part: tuple[int, int], headers: Mapping[str, str], query: Mapping[str, str] | None, payload: str
    ) -> str:
        request = (await self.line.signer()).sign("PUT", self.key, query=query, headers=headers, payload=payload)
        sent = Counted(self.progress)
        arrived = False
        try:
            reply = await self.plane.send(request, self.path, offset=part[0], length=part[1], progress=sent)
            fault = from_body(reply.status, reply.body, self.line.where(self.key), reply.headers)
            if fault is not None:
                raise fault
            found = tag(reply.headers.get("etag"))
            if found is None:
                raise StoreRefused(f"{self.line.where(self.key)}: the store takes bytes without an ETag for them")
            arrived = True
            return found
        finally:
            if not arrived:
                self.progress(-sent.total)


class Counted:
    """Passes progress on and remembers how much it was, so that it can be taken back; called from any thread."""

    def __init__(self, progress: Callable[[int], None]) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self.total = 0

    def __call__(self, delta: int) -> None:
        with self._lock:
            self.total += delta
        self._progress(delta)
