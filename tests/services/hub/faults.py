"""Faults on demand: what goes wrong, at which file or endpoint, how often; by gate, never by sleep."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

Kind = Literal[
    "flip",  # the byte at `at` of the file has one bit changed
    "shorter",  # the file seems to end at `at`, lengths agree: an honest answer about wrong content
    "cut",  # full Content-Length, the connection is closed after `at` bytes of the body
    "reset",  # the same, by RST
    "stall",  # nothing more after `at` bytes until the fault is released or the client leaves
    "status",  # an error answer: `status`, `headers`, `body`
    "garbage",  # 200 with `body` in place of what was asked for
    "whole",  # a range is ignored: 200 with everything
    "part",  # a range is answered with its first `at` bytes only, as an honest 206
    "elsewhere",  # a range is answered with other bytes than asked, Content-Range says so
    "lie",  # a range is answered with other bytes than asked, Content-Range claims the asked ones
    "slow",  # at most `rate` bytes per second, all requests that it meets together
    "expired",  # the signed URL that the answer redirects to is not good any more
    "drop",  # the connection is closed without an answer
    "then",  # nothing goes wrong, but `action` happens first: a commit moves, a file changes
]


@dataclass(eq=False, slots=True)
class Fault:
    """One fault; it meets requests whose file (`repo/path`) or URL path matches `target`, `times` times (None: always).

    In a test, `reached` says that it was met and `release` lets a stalled answer go on.
    """

    kind: Kind
    target: str
    method: str = "*"
    origin: str = "*"
    times: int | None = 1
    skip: int = 0
    at: int = 0
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    rate: int = 0
    action: Callable[[], object] | None = None
    met: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    def meets(self, origin: str, method: str, names: tuple[str, ...]) -> bool:
        """True if it has to do with this request."""
        return (
            fnmatchcase(origin, self.origin)
            and fnmatchcase(method, self.method)
            and any(fnmatchcase(name, self.target) for name in names)
        )

    def spent(self) -> bool:
        """True if it has happened as often as it should."""
        return self.times is not None and self.met >= self.times + self.skip


class Faults:
    """The faults that wait for their requests; each request meets the oldest that fits, beside every `slow` one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Let this go wrong from now on."""
        with self._lock:
            self._waiting.append(fault)
        return fault

    def clear(self) -> None:
        """Let everything go right again; stalled answers go on."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for fault in waiting:
            fault.release.set()

    def meet(self, origin: str, method: str, names: tuple[str, ...]) -> tuple[Fault | None, list[Fault]]:
        """The fault of this request, and those that slow it; counted as met."""
        with self._lock:
            fitting = [f for f in self._waiting if not f.spent() and f.meets(origin, method, names)]
            slow = [f for f in fitting if f.kind == "slow"]
            chosen = next((f for f in fitting if f.kind != "slow"), None)
            for fault in [*slow, *([chosen] if chosen else [])]:
                fault.met += 1
            if chosen and chosen.met <= chosen.skip:
                chosen = None
        return chosen, slow
