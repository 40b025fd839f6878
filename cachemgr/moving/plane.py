"""The data plane as its callers see it: fetch, copy, digest, send."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cachemgr.domain.digest import Seen
from cachemgr.moving.copying import Copy
from cachemgr.moving.fetch import Fetch
from cachemgr.moving.frontier import Frontier
from cachemgr.moving.gear import RANGE, Gear
from cachemgr.moving.hashes import Hashes
from cachemgr.moving.patience import Patience
from cachemgr.moving.reading import open_source
from cachemgr.moving.remote import Remote, Reply, Request
from cachemgr.moving.sending import Send
from cachemgr.moving.sinks import open_sinks
from cachemgr.moving.stop import Stop
from cachemgr.moving.target import Resume, Target

_AHEAD = 2
_ONE_REQUEST_BYTES = 64 << 20


class DataPlane:
    """Moves the bytes of files, hashed on the way, on threads of its own.

    `connections` is how many one origin sees at a time, over all movements. `window_bytes` bounds the buffers of all
    movements together (48 MiB for 4 connections), apart from one of 8 MiB that each of them always gets. Files up to
    `one_request_bytes` are asked for by one request and hashed by the thread that receives them, larger ones by ranges.

    Callbacks (`progress` with the bytes moved since the last call, `frontier` with the bytes from the beginning that
    are written and fsynced) are called from those threads and must be quick. A cancelled call has ended, threads
    included, when the cancellation reaches its caller.
    """

    def __init__(
        self,
        connections: int = 4,
        *,
        window_bytes: int | None = None,
        one_request_bytes: int = _ONE_REQUEST_BYTES,
        patience: Patience | None = None,
    ) -> None:
        # A buffer for each connection, and two that the hasher has not come to: more makes nothing faster.
        window_bytes = window_bytes or (connections + _AHEAD) * RANGE
        self._gear = Gear(connections, window_bytes, one_request_bytes, patience or Patience())

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
        """Write the file at `remote` into all targets in one pass; they are fsynced and closed on return.

        Bytes taken over from `resume` count as progress too, so that progress adds up to the size. A fetch that fails
        or is cancelled tells `frontier` how far it came. Raises NotFound, Unauthorized, OriginUnavailable; OSError of
        a target (ENOSPC, EDQUOT, EIO, ...) as it came.
        """

        def movement(stop: Stop) -> Seen:
            with open_sinks(targets, remote.size) as sinks:
                hashes = Hashes(remote.size, git_sha1=git_sha1)
                fetch = Fetch(self._gear, stop, sinks, hashes, progress, Frontier(sinks, frontier))
                seen = fetch.run(remote, resume)
                stop.check()
                sinks.finish()
                return seen

        return await self._gear.run(movement)

    async def copy(
        self,
        source: Path,
        targets: Sequence[Target],
        *,
        size: int,
        git_sha1: bool,
        progress: Callable[[int], None],
    ) -> Seen:
        """Copy the file at `source` into all targets in one pass; they are fsynced and closed on return.

        If it does not have `size` bytes, what is returned says so. Raises OSError.
        """

        def movement(stop: Stop) -> Seen:
            with open_source(source) as fd, open_sinks(targets, size) as sinks:
                seen = Copy(self._gear, stop, sinks, Hashes(size, git_sha1=git_sha1), progress).run(fd, size)
                stop.check()
                sinks.finish()
                return seen

        return await self._gear.run(movement)

    async def digest(self, path: Path, *, size: int, git_sha1: bool, progress: Callable[[int], None]) -> Seen:
        """Read and hash the file at `path`; if it does not have `size` bytes, what is returned says so.

        Raises OSError.
        """
        return await self.copy(path, (), size=size, git_sha1=git_sha1, progress=progress)

    async def send(
        self, request: Request, path: Path, *, offset: int, length: int, progress: Callable[[int], None]
    ) -> Reply:
        """PUT `length` bytes of the file from `offset` on, once, and return the answer: redirects too are answers.

        Raises OriginUnavailable where no answer came, and OSError of the file as it came.
        """
        return await self._gear.run(lambda stop: Send(self._gear, stop, request, progress).run(path, offset, length))

    def close(self) -> None:
        """Stop all movements, wait for their threads, close the connections."""
        self._gear.close()
