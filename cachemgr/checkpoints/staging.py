"""Building a checkpoint beside its destination, where it appears by one rename, complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cachemgr.domain.checkpoint import Kind, StoredLink
from cachemgr.domain.errors import Usage
from cachemgr.tiers.durable import make_directory, names, sync_directory
from cachemgr.tiers.owner import Owner

PREFIX = ".cachemgr-restore-"

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.ENOSPC, errno.ENOSYS})
_OCCUPIED = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR})


@dataclass(frozen=True, slots=True)
class Staging:
    """One restore's own directory in the directory it restores into; every method blocks and raises OSError."""

    path: Path

    @classmethod
    def begin(cls, directory: Path) -> Staging:
        """A new, empty one; what ended restores left there is removed, and the directory made if it is missing."""
        make_directory(directory)
        for name in names(directory):
            owner = Owner.parse(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
            if owner is not None and owner.has_ended():
                shutil.rmtree(directory / name, ignore_errors=True)
        path = directory / f"{PREFIX}{Owner.current().unique_name()}"
        os.mkdir(path, 0o700)
        return cls(path)

    @property
    def _root(self) -> Path:
        return self.path / "checkpoint"

    def place(self, path: str, size: int) -> Path:
        """A new file of this size for one path of the checkpoint, "" being the checkpoint itself."""
        target = self._root / path if path else self._root
        os.makedirs(target.parent, exist_ok=True)
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            os.ftruncate(fd, size)
        finally:
            os.close(fd)
        return target

    def publish(self, destination: Path, kind: Kind, links: Iterable[StoredLink]) -> None:
        """Make it durable and let it appear there; raises Usage if something else is there by now."""
        if kind == "directory":
            for link in links:
                os.makedirs((self._root / link.path).parent, exist_ok=True)
                os.symlink(link.target, self._root / link.path)
            _sync_tree(self._root)
        try:
            _appear(self._root, destination, kind)
        except OSError as error:
            if error.errno in _OCCUPIED:
                raise occupied(destination) from error
            raise
        sync_directory(destination.parent)

    def discard(self) -> None:
        """Remove what is left of it."""
        shutil.rmtree(self.path, ignore_errors=True)


def occupied(destination: Path) -> Usage:
    """Why a restore does not go there."""
    return Usage(
        f"{destination} exists and is not that checkpoint: nothing was touched",
        hint="move it away, or restore into another directory",
    )


def _appear(source: Path, destination: Path, kind: Kind) -> None:
    if kind == "directory":
        if os.path.lexists(destination):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(destination))
        # A directory replaces at most an empty one that appeared since: nothing can get lost.
        os.rename(source, destination)
        return
    try:
        os.link(source, destination, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(destination):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(destination)) from None
        os.rename(source, destination)


def _sync_tree(root: Path) -> None:
    """Make every name below a directory durable; the files' bytes are already."""
    for directory, _, _ in os.walk(root, topdown=False):
        sync_directory(Path(directory))


def is_there(path: Path) -> bool:
    """True if anything is there, a dangling link included."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return stat.S_IFMT(os.lstat(path).st_mode) != 0
    return False
