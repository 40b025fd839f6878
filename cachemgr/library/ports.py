"""What the read path needs of its neighbours: an origin, a data plane, and the parts of a tier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from cachemgr.domain.digest import Digest, Seen
from cachemgr.domain.manifest import Entry, Manifest
from cachemgr.domain.marks import Watermarks
from cachemgr.domain.ref import Ref
from cachemgr.moving.remote import Remote
from cachemgr.moving.target import Resume, Target
from cachemgr.tiers.notes import Resolved
from cachemgr.tiers.snapshots import Sealed
from cachemgr.tiers.space import Usage


class Origin(Protocol):
    """Where artifacts of one scheme come from."""

    async def resolve(self, ref: Ref) -> Manifest:
        """What the ref is right now; raises NotFound, Unauthorized, OriginUnavailable, Usage."""
        ...

    def remote(self, manifest: Manifest, entry: Entry) -> Remote:
        """Where the bytes of one file are."""
        ...


class Plane(Protocol):
    """Moves large bytes off the event loop and hashes them on the way."""

    async def fetch(
        self,
        remote: Remote,
        targets: Sequence[Target],
        *,
        git_sha1: bool,
        resume: Resume | None = None,
        frontier: Callable[[int], None] | None = None,
        progress: Callable[[int], None],
    ) -> Seen:
        """Bring a remote file to all targets in one pass."""
        ...

    async def copy(
        self,
        source: Path,
        targets: Sequence[Target],
        *,
        size: int,
        git_sha1: bool,
        progress: Callable[[int], None],
    ) -> Seen:
        """Bring a local file to all targets in one pass."""
        ...

    async def digest(self, path: Path, *, size: int, git_sha1: bool, progress: Callable[[int], None]) -> Seen:
        """Read a file and say what it is."""
        ...


class Part(Protocol):
    """One writer's partial file."""

    @property
    def target(self) -> Target: ...

    @property
    def resume(self) -> Resume | None: ...

    def record(self, size: int) -> None:
        """The first `size` bytes are hashed and on disk (called from a thread)."""
        ...

    async def publish(self, entry: Entry, seen: Seen) -> Digest:
        """Make it a blob if it is what `entry` promises; raises VerificationFailed with the bytes in quarantine."""
        ...


class Blobs(Protocol):
    """The immutable files of one tier, by content."""

    async def locate(self, asked: Mapping[str, tuple[int, Digest | None]]) -> dict[str, Digest]:
        """By key, the blobs that are here of files of these sizes; None: what an earlier part of the key was."""
        ...

    def path(self, digest: Digest) -> Path: ...

    def part(self, key: str, size: int) -> AbstractAsyncContextManager[Part]: ...

    async def reclaimable(self) -> list[tuple[Digest, int]]: ...

    async def reclaim(self, digest: Digest) -> int: ...

    async def condemn(self, digest: Digest, reason: str) -> None:
        """Move a blob whose bytes went bad to quarantine, so that it can never be linked again."""
        ...

    async def purge(self) -> int:
        """Delete what writers that ended left, and quarantine; the bytes freed."""
        ...


class Snapshots(Protocol):
    """The sealed revisions of one tier."""

    async def scan(self) -> list[Sealed]: ...

    async def find(self, id: str) -> Sealed | None: ...

    async def publish(self, manifest: Manifest, ref: Ref | None, resolved_at: float) -> Sealed: ...

    async def unseal(self, id: str) -> None:
        """Take away the seal only; the directory stays for its readers."""
        ...

    async def discard(self, id: str) -> int: ...


class Refs(Protocol):
    """What moving refs were last resolved to, on one tier."""

    async def remember(self, ref: Ref, revision: str, at: float) -> None: ...

    async def recall(self, ref: Ref) -> Resolved | None: ...

    async def all(self) -> list[Resolved]: ...


class Pins(Protocol):
    """An operator's protection, without a deadline."""

    async def add(self, id: str) -> None: ...

    async def remove(self, id: str) -> None: ...

    async def all(self) -> frozenset[str]: ...


class Uses(Protocol):
    """When each snapshot was last used; kept in files, so that it survives a restart."""

    async def touch(self, id: str) -> None: ...

    async def all(self) -> dict[str, float]: ...


class Tier(Protocol):
    """A directory where artifacts stay."""

    @property
    def name(self) -> str: ...

    @property
    def root(self) -> Path: ...

    @property
    def device(self) -> int: ...

    @property
    def writable(self) -> bool: ...

    @property
    def blobs(self) -> Blobs: ...

    @property
    def snapshots(self) -> Snapshots: ...

    @property
    def refs(self) -> Refs: ...

    @property
    def pins(self) -> Pins: ...

    @property
    def uses(self) -> Uses: ...


class Hold(Protocol):
    """A reader's protection of one snapshot."""

    def release(self) -> None: ...


class Holds(Protocol):
    """Who reads what on one tier, across processes."""

    async def take(self, id: str) -> Hold: ...

    def exclusive(self, id: str) -> AbstractAsyncContextManager[bool]: ...

    async def held(self) -> frozenset[str]: ...


class Allocation(Protocol):
    """A file of a reservation that is on disk; it is gone again for whoever leaves without `commit`."""

    def __enter__(self) -> Allocation: ...

    def __exit__(self, *exc: object) -> None: ...

    def commit(self) -> None: ...


class Reservation(Protocol):
    """Bytes promised to one write."""

    def allocated(self, n: int) -> Allocation:
        """A file of so many of these bytes is on disk from now on."""
        ...

    def release(self) -> None:
        """Give back what was not committed."""
        ...


class Space(Protocol):
    """The budget of one tier."""

    marks: Watermarks

    async def refresh(self) -> None: ...

    def reserve(self, needed_bytes: int, evictable_bytes: int) -> Reservation: ...

    def freed(self, n: int) -> None: ...

    def usage(self) -> Usage: ...

    def pressure(self, incoming_bytes: int) -> int:
        """The bytes to evict around a write, so that the next one does not evict again; 0 if there is room."""
        ...

    def shortfall(self, incoming_bytes: int) -> int:
        """The bytes that must go before a write may begin."""
        ...

    def above_low(self) -> int:
        """The bytes by which the tier is above its low mark, or below its minimum of free space."""
        ...


class Progress(Protocol):
    """Where a movement says how far it is; safe to call from any thread."""

    def expect(self, total_bytes: int, files: int) -> None: ...

    def moved(self, delta_bytes: int) -> None: ...

    def file_done(self) -> None: ...
