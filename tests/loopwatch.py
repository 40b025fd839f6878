"""Sees event loops that `cachemgr` blocks: a thread looks at their stacks while they should be turning."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

HOME = str(Path(__file__).parents[1] / "cachemgr") + "/"

TICK_SECONDS = 0.05
# Not by the clock: a tick counts only what its thread slept or worked, not what it waited for a core; and where the
# whole process waits, so does the watcher.
BLOCKED_SECONDS = 0.3

_TURN = asyncio.Handle._run.__code__


@dataclass
class _Turn:
    """One callback of a loop that is still running."""

    frame: FrameType
    cpu_seconds: float
    blocked_seconds: float = 0.0
    told: bool = False


@dataclass
class LoopWatch:
    """Collects the stacks of blocked loops in `blocks` until it is stopped."""

    home: str = HOME
    blocks: list[str] = field(default_factory=list)
    _turns: dict[int, _Turn] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="loop watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(TICK_SECONDS):
            self._look()

    def _look(self) -> None:
        natives = {thread.ident: thread.native_id for thread in threading.enumerate()}
        turns = {}
        for ident, frame in _frames().items():
            stack = _stack(frame)
            at = next((number for number, one in enumerate(stack) if one.f_code is _TURN), None)
            if at is not None and ident in natives and _is_ours(stack[at + 1 :], self.home):
                turns[ident] = self._follow(ident, natives[ident], stack, stack[at])
        self._turns = turns

    def _follow(self, ident: int, native: int | None, stack: list[FrameType], frame: FrameType) -> _Turn:
        turn = self._turns.get(ident)
        cpu = time.clock_gettime(time.pthread_getcpuclockid(ident))
        if turn is None or turn.frame is not frame:
            return _Turn(frame, cpu)
        turn.blocked_seconds += TICK_SECONDS if _sleeps(native) else cpu - turn.cpu_seconds
        turn.cpu_seconds = cpu
        if turn.blocked_seconds >= BLOCKED_SECONDS and not turn.told:
            turn.told = True
            self.blocks.append("".join(traceback.format_stack(stack[-1])))
        return turn


def _frames() -> dict[int, FrameType]:
    """The innermost frame of every thread."""
    # A collection that starts inside the call can want the lock that the call holds (CPython 3.11): it waits for ever.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()
    finally:
        if collecting:
            gc.enable()


def _stack(frame: FrameType | None) -> list[FrameType]:
    """The frames of a thread, the outermost first."""
    stack = []
    while frame is not None:
        stack.append(frame)
        frame = frame.f_back
    return stack[::-1]


def _is_ours(inner: list[FrameType], home: str) -> bool:
    """True if our code has the turn: not a function of ours that an asynchronous test calls directly."""
    ours = [frame for frame in inner if frame.f_code.co_filename.startswith(home)]
    flags = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
    return bool(ours) and (inner[0] is ours[0] or any(frame.f_code.co_flags & flags for frame in ours))


def _sleeps(native: int | None) -> bool:
    try:
        stat = Path(f"/proc/self/task/{native}/stat").read_text()
    except OSError:
        return True  # no /proc: count every tick
    return stat.rpartition(")")[2].split()[0] != "R"
