"""Partial files: one per writer and attempt, with a note beside it of who writes and how far the bytes are proven."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from cachemgr.domain.errors import Usage
from cachemgr.domain.names import escape
from cachemgr.moving.target import Resume
from cachemgr.tiers.durable import names, read_bytes, remove_file
from cachemgr.tiers.layout import Layout
from cachemgr.tiers.owner import Owner

KEEP_SECONDS = 86400.0
"""How long the unfinished work of a writer that is gone, or that nobody can ask about, is kept for a resume."""

_NAME = re.compile(r"(?P<key>.+)\.(?P<generation>[0-9]{1,9})", re.ASCII)
_NOTE = re.compile(rb"(?P<owner>[0-9a-f-]{1,160}) (?P<size>[0-9]{1,19})\n", re.ASCII)
_NOTE_SUFFIX = ".at"
_OPEN: dict[Path, _Open] = {}
"""What this process writes right now; of the process and not of an object, as locks are, too."""

_NOBODY = "-"  # in place of a writer: it has left this file for a resume
_NOTE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class _Open:
    """A file being written: its descriptor, and the writer's name for it, which no other writing ever had.

    The name is compared and not the path: one volume can be mounted at several.
    """

    fd: int
    writer: str


@dataclass(frozen=True, slots=True)
class Leftover:
    """A partial file whose writer is gone: the first `proven_bytes` were hashed and fsynced."""

    path: Path
    size: int
    proven_bytes: int
    linked: bool
    changed: float


class PartFiles:
    """The directory of partial files. All methods block: call them in the tier's pool.

    On a local file system a writer holds a lock on its file, which ends with its process wherever that ran. On a
    network file system, where a lock may outlive its holder or be given to everyone, its name must tell.
    """

    def __init__(self, layout: Layout, *, local: bool) -> None:
        self._directory = layout.parts
        self._local = local

    def create(self, key: str, size: int) -> Path:
        """A new file of this process alone, of its full size at once: a quota answers now and not at the end."""
        path = self._claim(escape(key))
        try:
            if self._local:
                _lock(_OPEN[path].fd)
            # First whose it is, then its size: a death in between leaves nothing that takes space.
            self.note(path, 0)
            os.ftruncate(_OPEN[path].fd, size)
        except BaseException:
            self.drop(path)
            raise
        return path

    def _claim(self, key: str) -> Path:
        generation = 1 + max((g for k, g in map(_split, names(self._directory)) if k == key), default=0)
        while True:
            path = self._directory / f"{key}.{generation}"
            with contextlib.suppress(FileExistsError):
                # Nobody judges it before its note is there, and that is written when it is in this table.
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                _OPEN[path] = _Open(fd, Owner.current().unique_name())
                return path
            generation += 1

    def note(self, path: Path, proven_bytes: int) -> None:
        """Record how many bytes of a file that we write are hashed and on disk."""
        self._note(path, proven_bytes, _OPEN[path].writer)

    def _note(self, path: Path, proven_bytes: int, writer: str) -> None:
        # By rename, so that a torn note cannot be read.
        note, scratch = _beside(path, _NOTE_SUFFIX), _beside(path, _NOTE_SUFFIX + "~")
        fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, f"{writer} {proven_bytes}\n".encode())
        finally:
            os.close(fd)
        os.replace(scratch, note)

    def release(self, path: Path, *, keep: bool) -> int:
        """End our writing; the proven bytes stay for a resume if `keep`, everything else goes. Return what stays."""
        try:
            leftover = self._look(path)
            if leftover is None or not keep or leftover.linked or not leftover.proven_bytes:
                self.drop(path)
                return 0
            os.truncate(path, leftover.proven_bytes)
            self._note(path, leftover.proven_bytes, _NOBODY)
            return leftover.proven_bytes
        finally:
            _close(path)

    def drop(self, path: Path) -> None:
        """Take a partial file and its note away."""
        remove_file(path)
        for suffix in (_NOTE_SUFFIX, _NOTE_SUFFIX + "~"):
            remove_file(_beside(path, suffix))
        _close(path)

    def resume(self, key: str) -> Resume | None:
        """The leftover of this key with the most proven bytes."""
        best = max(self.leftovers(escape(key)), key=lambda leftover: leftover.proven_bytes, default=None)
        return Resume(best.path, best.proven_bytes) if best and best.proven_bytes else None

    def leftovers(self, key: str | None = None) -> list[Leftover]:
        """The partial files (of one escaped key) whose writers are known to have ended."""
        found = []
        for name in names(self._directory):
            of_key, generation = _split(name)
            if generation and key in (None, of_key) and self._directory / name not in _OPEN:
                leftover = self._look(self._directory / name)
                if leftover is not None and self._ended(self._directory / name):
                    found.append(leftover)
        return found

    def drop_leftovers(self, key: str) -> None:
        """Forget what ended writers left of this key."""
        for leftover in self.leftovers(escape(key)):
            self.drop(leftover.path)

    def bytes(self) -> int:
        """What all partial files take, by their full sizes."""
        found = (_stat(self._directory / name) for name in names(self._directory) if _split(name)[1])
        return sum(info.st_size for info in found if info is not None)

    def sweep(self, now: float) -> None:
        """Shrink or delete what ended writers left, and what nobody touched for a day (`now` by the tier's clock)."""
        for name in names(self._directory):
            path = self._directory / name
            if path.with_name(name.removesuffix("~").removesuffix(_NOTE_SUFFIX)) in _OPEN:
                continue
            if not _split(name)[1]:
                self._sweep_note(path, now)
            elif (leftover := self._look(path)) is not None:
                self._sweep_part(leftover, now)

    def _sweep_part(self, leftover: Leftover, now: float) -> None:
        ended = self._ended(leftover.path)
        if now - leftover.changed > KEEP_SECONDS or (ended and (leftover.linked or not leftover.proven_bytes)):
            self.drop(leftover.path)
        elif ended and leftover.proven_bytes < leftover.size:
            os.truncate(leftover.path, leftover.proven_bytes)

    def _sweep_note(self, path: Path, now: float) -> None:
        part = path.name.removesuffix("~").removesuffix(_NOTE_SUFFIX)
        with contextlib.suppress(FileNotFoundError):
            if not os.path.lexists(self._directory / part) and now - os.lstat(path).st_mtime > KEEP_SECONDS:
                remove_file(path)

    def _look(self, path: Path) -> Leftover | None:
        info = _stat(path)
        if info is None:
            return None
        _, proven = self._read_note(path)
        # Linked or made read-only: it is a blob, or about to be one. Its bytes may never be cut again.
        linked = info.st_nlink > 1 or not info.st_mode & 0o200
        return Leftover(path, info.st_size, min(proven, info.st_size), linked, info.st_mtime)

    def _ended(self, path: Path) -> bool:
        text, _ = self._read_note(path)
        if text == _NOBODY:
            return True
        owner = Owner.parse(text)
        if owner is None or any(text == each.writer for each in [*_OPEN.values()]):
            return False
        return owner == Owner.current() or (_is_unlocked(path) if self._local else owner.has_ended())

    def _read_note(self, path: Path) -> tuple[str, int]:
        try:
            found = _NOTE.fullmatch(read_bytes(_beside(path, _NOTE_SUFFIX), _NOTE_BYTES))
        except (OSError, Usage):
            return "", 0
        return (found["owner"].decode(), int(found["size"])) if found else ("", 0)


def is_over(owner: str, changed: float, now: float) -> bool:
    """True if a process has certainly ended, or left what it named untouched for a day by the tier's clock."""
    parsed = Owner.parse(owner)
    return now - changed > KEEP_SECONDS or (parsed is not None and parsed.has_ended())


def _is_unlocked(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        return _lock(fd)
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # held, or no locks here: then nobody is ever certain to have ended
    return True


def _close(path: Path) -> None:
    found = _OPEN.pop(path, None)
    if found is not None:
        os.close(found.fd)


def _split(name: str) -> tuple[str, int]:
    """The key and the generation of a partial file's name; generation 0 for anything else."""
    found = _NAME.fullmatch(name)
    return (found["key"], int(found["generation"])) if found else (name, 0)


def _stat(path: Path) -> os.stat_result | None:
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return None
    return info if stat.S_ISREG(info.st_mode) else None


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
