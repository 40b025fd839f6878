"""A large file by ranges: several connections fill buffers ahead, one hasher follows in order behind them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import dataclass

from cachemgr.moving.frontier import Frontier
from cachemgr.moving.gear import RANGE, Gear
from cachemgr.moving.hashes import Hashes
from cachemgr.moving.sinks import STEP, Sinks
from cachemgr.moving.source import Source, Stream
from cachemgr.moving.stop import Stop

_HASH_STEP = 1 << 20
_LOOK_AGAIN_SECONDS = 0.2


@dataclass(slots=True)
class _Range:
    offset: int
    slot: memoryview
    view: memoryview
    filled: int = 0
    written: bool = False


class Ring:
    """Ranges are handed out in order, each with its buffer, so the one the hasher waits for always has one.

    The buffers still in hand are hashed, not the file: nothing is read again. When the hasher falls behind, the
    buffers run out and the network waits for it.
    """

    def __init__(
        self,
        source: Source,
        gear: Gear,
        sinks: Sinks,
        hashes: Hashes,
        progress: Callable[[int], None],
        frontier: Frontier,
    ) -> None:
        self._source = source
        self._gear = gear
        self._sinks = sinks
        self._hashes = hashes
        self._progress = progress
        self._frontier = frontier
        self._changed = threading.Condition()
        self._handing_out = threading.Lock()
        self._next = self._hashed = 0
        self._ranges: dict[int, _Range] = {}
        self._fault: BaseException | None = None

    @property
    def _stop(self) -> Stop:
        return self._source.stop

    def run(self, start: int) -> None:
        """Move and hash the bytes from `start` on; all threads have ended when it returns or raises."""
        self._next = self._hashed = start
        count = -(-(self._source.size - start) // RANGE)
        lanes = [self._gear.crew.help(self._lane) for _ in range(min(self._gear.turns.limit, count))]
        try:
            self._hash_all()
        except BaseException as exc:  # noqa: BLE001 (raised again below, once the lanes have ended)
            self._fail(exc)
        # One that has not begun, because all helpers are busy, has nothing to do any more.
        wait([lane for lane in lanes if not lane.cancel()])
        self._advance_over_what_is_written()
        for left in self._ranges.values():
            self._gear.slots.give(self, left.slot)
        if self._fault is not None:
            raise self._fault

    def _advance_over_what_is_written(self) -> None:
        """After a failure: whoever resumes hashes it anyway, so it need not be hashed now."""
        while (piece := self._ranges.get(self._hashed)) is not None and piece.written:
            del self._ranges[piece.offset]
            self._gear.slots.give(self, piece.slot)
            self._hashed += len(piece.view)
            self._frontier.pass_by(self._hashed)

    def _fail(self, fault: BaseException) -> None:
        with self._changed:
            self._fault = self._fault or fault
            self._changed.notify_all()
        self._stop.set()

    def _lane(self) -> None:
        try:
            while (piece := self._take()) is not None:
                with self._gear.turns.one(self._source.origin, self._stop):
                    self._receive(piece)
        except BaseException as exc:  # noqa: BLE001 (the movement's thread raises it)
            self._fail(exc)

    def _take(self) -> _Range | None:
        with self._handing_out:
            offset = self._next
            if offset >= self._source.size:
                return None
            slot = self._gear.slots.take(self, self._stop)
            piece = _Range(offset, slot, slot[: min(RANGE, self._source.size - offset)])
            self._next = offset + len(piece.view)
            with self._changed:
                self._ranges[offset] = piece
                self._changed.notify_all()
            return piece

    def _receive(self, piece: _Range) -> None:
        end = piece.offset + len(piece.view)
        stream, spill = Stream(self._source, piece.offset, end), self._sinks.spill(piece.view, piece.offset)
        try:
            filled = 0
            while filled < len(piece.view):
                count = stream.readinto(piece.view[filled : filled + STEP])
                filled += count
                self._progress(count)
                self._report(piece, filled)
                spill.grown(filled)
        finally:
            stream.close()
        with self._changed:
            piece.written = True
            self._changed.notify_all()

    def _report(self, piece: _Range, filled: int) -> None:
        # Waking the hasher for each 256 KiB would cost more than it gains.
        worth_it = filled // _HASH_STEP > piece.filled // _HASH_STEP or filled == len(piece.view)
        if worth_it:
            with self._changed:
                piece.filled = filled
                self._changed.notify_all()

    def _hash_all(self) -> None:
        while self._hashed < self._source.size:
            piece = self._hash_next(self._hashed)
            with self._changed:
                del self._ranges[piece.offset]
            self._gear.slots.give(self, piece.slot)
            self._hashed += len(piece.view)
            if self._hashed < self._source.size:
                self._frontier.advance(self._hashed)

    def _hash_next(self, offset: int) -> _Range:
        self._wait(lambda: offset in self._ranges)
        piece, hashed = self._ranges[offset], 0
        while hashed < len(piece.view):
            self._stop.check()
            self._wait(lambda: piece.filled > hashed)  # noqa: B023 (called before the next turn)
            filled = piece.filled
            self._hashes.update(piece.view[hashed:filled])
            hashed = filled
        self._wait(lambda: piece.written)
        return piece

    def _wait(self, ready: Callable[[], bool]) -> None:
        with self._changed:
            while True:
                if self._fault is not None:
                    raise self._fault
                if ready():
                    return
                # Nobody wakes us while all helpers are busy elsewhere and no lane of ours has begun.
                self._stop.check()
                self._changed.wait(_LOOK_AGAIN_SECONDS)
