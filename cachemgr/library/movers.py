"""Work on models that takes a while, as jobs that a transfer runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from cachemgr.domain.errors import Usage
from cachemgr.domain.ref import Ref
from cachemgr.library.answers import Pulled, Verified
from cachemgr.library.integrity import Integrity
from cachemgr.library.pull import Puller, Wish
from cachemgr.library.transfers import Transfer


class Movers:
    """Judges what was asked at once, and returns the job."""

    def __init__(self, puller: Puller, integrity: Integrity) -> None:
        self._puller = puller
        self._integrity = integrity

    def prefetch(
        self, ref: Ref, tier: str, include: Sequence[str], exclude: Sequence[str], allow_stale: bool
    ) -> Callable[[Transfer], Awaitable[Pulled]]:
        """Make it complete and verified on this tier; raises Usage."""
        if tier not in ("volume", "disk"):
            raise Usage(f"models are pulled to the volume or promoted to the disk, not to {tier!r}")
        wish = Wish(ref, tier, tuple(include), tuple(exclude), allow_stale)
        return lambda transfer: self._puller.pull(wish, transfer)

    def verify(self, ref: Ref | None, tier: str | None) -> Callable[[Transfer], Awaitable[Verified]]:
        """Read it (or everything) again and compare with the seals."""

        async def job(transfer: Transfer) -> Verified:
            transfer.verifying()
            return await self._integrity.verify(ref, tier, transfer)

        return job
