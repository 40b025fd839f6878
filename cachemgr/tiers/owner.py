"""Who wrote a file: one process, named so that its end can be known from its name."""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"([0-9a-f]{32})-([0-9]{1,20})-([0-9]{1,10})-([0-9]{1,20})(?:-[A-Za-z0-9]+)?", re.ASCII)
_PROC = Path("/proc")
_UNKNOWN = "0" * 32


@dataclass(frozen=True, slots=True)
class Owner:
    """A process: the boot of its kernel, its pid namespace, its pid in there and its start time (ticks since boot).

    All four together are never used twice. The text is `<boot>-<pid namespace>-<pid>-<start>`.
    """

    boot: str
    pid_namespace: int
    pid: int
    start: int

    @classmethod
    def current(cls) -> Owner:
        """This process, read anew each time: a fork has another pid, a thawed process may have another kernel."""
        pid = os.getpid()
        stat = _stat(pid) if _proc_is_ours() else None
        return cls(_boot(), _pid_namespace(), pid, stat.start if stat else 0)

    @classmethod
    def parse(cls, name: str) -> Owner | None:
        """The owner in a file name, with or without a further `-<nonce>`; None if it names nobody."""
        found = _NAME.fullmatch(name)
        return cls(found[1], int(found[2]), int(found[3]), int(found[4])) if found else None

    def unique_name(self) -> str:
        """A file name that says whose it is and that nobody used before."""
        return f"{self}-{secrets.token_hex(8)}"

    def has_ended(self) -> bool:
        """True only if this process is certainly gone; of another boot or pid namespace nothing is certain."""
        if self.boot == _UNKNOWN or (self.boot, self.pid_namespace) != (_boot(), _pid_namespace()):
            return False
        if not _answers(self.pid):
            return True
        stat = _stat(self.pid) if _proc_is_ours() else None
        return stat is not None and (stat.ended or self.start not in (0, stat.start))

    def __str__(self) -> str:
        return f"{self.boot}-{self.pid_namespace}-{self.pid}-{self.start}"


@dataclass(frozen=True, slots=True)
class _Stat:
    start: int
    ended: bool


def _boot() -> str:
    try:
        text = (_PROC / "sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    except OSError:
        return _UNKNOWN
    return text if re.fullmatch(r"[0-9a-f]{32}", text) else _UNKNOWN


def _pid_namespace() -> int:
    try:
        return (_PROC / "self/ns/pid").stat().st_ino
    except OSError:
        return 0


def _proc_is_ours() -> bool:
    # A /proc of another pid namespace shows other processes under our numbers.
    try:
        return os.readlink(_PROC / "self") == str(os.getpid())
    except OSError:
        return False


def _answers(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The command's name stands in parentheses and may contain anything; fields count from behind it.
    fields = text.rpartition(")")[2].split()
    if len(fields) < 20:
        return None
    # A zombie leader whose other threads still run has not ended.
    return _Stat(start=int(fields[19]), ended=fields[0] in "ZXx" and int(fields[17]) <= 1)
