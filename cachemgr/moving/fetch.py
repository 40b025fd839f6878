"""Fetching one file: small ones by one request on one thread, large ones by ranges in parallel."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from dataclasses import dataclass

from cachemgr.domain.digest import Seen
from cachemgr.domain.errors import CachemgrError
from cachemgr.moving.frontier import Frontier
from cachemgr.moving.gear import RANGE, Gear
from cachemgr.moving.hashes import Hashes
from cachemgr.moving.reading import open_source, read_full
from cachemgr.moving.remote import Remote
from cachemgr.moving.ring import Ring
from cachemgr.moving.sinks import STEP, Sinks
from cachemgr.moving.source import Source, Stream
from cachemgr.moving.stop import Stop, Stopped
from cachemgr.moving.target import Resume

_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Fetch:
    """One file on its way from an origin into `sinks`."""

    gear: Gear
    stop: Stop
    sinks: Sinks
    hashes: Hashes
    progress: Callable[[int], None]
    frontier: Frontier

    def run(self, remote: Remote, resume: Resume | None) -> Seen:
        """Receive, hash and write all bytes; the sinks are not finished yet. Raises our errors, OSError, Stopped."""
        try:
            done = self._reuse(resume, remote.size) if resume is not None else 0
            if done < remote.size:
                self._receive(Source(remote, self.gear.wires, self.gear.patience, self.stop), done)
        except (CachemgrError, Stopped):
            # The targets are sound: what is there need not come again.
            with contextlib.suppress(OSError):
                self.frontier.record()
            raise
        return self.hashes.seen(remote.size)

    def _receive(self, source: Source, start: int) -> None:
        if source.size <= self.gear.one_request_bytes:
            self._receive_alone(source, start)
        else:
            Ring(source, self.gear, self.sinks, self.hashes, self.progress, self.frontier).run(start)

    def _receive_alone(self, source: Source, start: int) -> None:
        stream = Stream(source, start, source.size)
        slot = self.gear.slots.take(self.stop, self.stop)
        try:
            with self.gear.turns.one(source.origin, self.stop):
                for offset in range(start, source.size, self.sinks.piece):
                    self.frontier.advance(offset)
                    self._fill(stream, slot[: min(self.sinks.piece, source.size - offset)], offset)
        finally:
            stream.close()
            self.gear.slots.give(self.stop, slot)

    def _fill(self, stream: Stream, view: memoryview, offset: int) -> None:
        spill, filled = self.sinks.spill(view, offset), 0
        while filled < len(view):
            count = stream.readinto(view[filled : filled + STEP])
            self.hashes.update(view[filled : filled + count])
            filled += count
            spill.grown(filled)
            self.progress(count)

    def _reuse(self, resume: Resume, size: int) -> int:
        """Copy and hash the beginning from an older partial file; how much of it could be read."""
        upto = min(resume.size, size)
        upto -= upto % _BLOCK if upto < size else 0
        slot = self.gear.slots.take(self.stop, self.stop)
        try:
            with open_source(resume.path) as fd:
                return self._copy(fd, slot, upto)
        except FileNotFoundError:
            return 0
        finally:
            self.gear.slots.give(self.stop, slot)

    def _copy(self, fd: int, slot: memoryview, upto: int) -> int:
        done = 0
        while done < upto:
            self.stop.check()
            view = slot[: min(RANGE, upto - done)]
            try:
                whole = read_full(fd, view, done) == len(view)
            except OSError as exc:
                if exc.errno not in (errno.EIO, errno.ENXIO, errno.ESTALE):
                    raise
                whole = False
            if not whole:
                break  # what cannot be read again is fetched again
            self.hashes.update(view)
            self.sinks.spill(view, done).grown(len(view))
            self.progress(len(view))
            done += len(view)
            self.frontier.advance(done)
        return done
