"""What the API needs of the rooms below it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from cachemgr.domain.ref import Ref
from cachemgr.library.answers import Answer, Check, Listed, Removed, Status, TierUse
from cachemgr.library.transfers import Transfer

Job: TypeAlias = Callable[[Transfer], Awaitable[object]]
"""Work that reports its progress and returns its result, a dataclass."""


class Models(Protocol):
    """The models on the tiers. Where an `id_or_ref` or tier is unknown: NotFound."""

    async def acquire(
        self,
        ref: Ref,
        *,
        wait_seconds: float | None,
        hold_seconds: float,
        tier: str,
        max_age_seconds: float | None,
    ) -> Answer:
        """Answer with a verified directory, held for `hold_seconds` (0: no hold).

        `wait_seconds`: None waits as long as it takes, 0 answers at once with NotFound if it is not there; after
        any other time DeadlineExceeded.
        """
        ...

    async def renew(self, hold: str, seconds: float) -> str:
        """Move a hold's deadline and return it (RFC 3339); raises NotFound if it has ended."""
        ...

    async def release(self, hold: str) -> None:
        """End a hold; raises NotFound if it has ended already."""
        ...

    async def listed(self, tier: str | None, id: str | None) -> list[Listed]:
        """What is on the tiers, or on this one; all, or this one id (or ref)."""
        ...

    async def pin(self, id_or_ref: str, tier: str | None) -> list[Listed]:
        """Protect it from eviction and removal, and list it."""
        ...

    async def unpin(self, id_or_ref: str, tier: str | None) -> list[Listed]:
        """End that protection, and list it."""
        ...

    async def remove(self, id_or_ref: str, tier: str | None, dry_run: bool) -> Removed:
        """Remove it from one tier, or from all; raises Held where it is held or pinned."""
        ...

    async def evict(self, tier: str, ref: Ref | None, bytes_wanted: int | None, dry_run: bool) -> Removed:
        """Remove this one, or the least recently used until so many bytes (None: down to low) are free."""
        ...


class Movers(Protocol):
    """Work on models that takes a while. Arguments are judged at once (Usage, NotFound), the job runs later."""

    def prefetch(self, ref: Ref, tier: str, include: Sequence[str], exclude: Sequence[str], allow_stale: bool) -> Job:
        """Make it complete and verified on this tier; results in Pulled."""
        ...

    def verify(self, ref: Ref | None, tier: str | None) -> Job:
        """Read it (or everything) again and compare with the seals; results in Verified."""
        ...


class Checkpoints(Protocol):
    """Checkpoints in a bucket. Arguments are judged at once (Usage), the job runs later."""

    def push(self, directory: str, to: str, name: str | None) -> Job:
        """Publish a directory."""
        ...

    def pull(self, source: str, directory: str, name: str | None) -> Job:
        """Restore one (None: the newest) into `directory`."""
        ...

    async def listed(self, at: str) -> Sequence[object]:
        """What is published there, as dataclasses."""
        ...


class Overview(Protocol):
    """The state of the daemon, from memory alone: none of these touches a file."""

    def status(self) -> Status: ...

    def df(self) -> list[TierUse]: ...

    def readiness(self) -> list[Check]: ...
