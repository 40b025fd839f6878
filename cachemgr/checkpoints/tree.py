"""What lies on the disk: the files and links of a checkpoint, and how a change to one shows."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cachemgr.domain.checkpoint import Kind, StoredFile, StoredLink, check_layout
from cachemgr.domain.errors import NotFound, TierUnavailable, Usage
from cachemgr.tiers import walk

_NOWHERE = "0" * 64


@dataclass(frozen=True, slots=True)
class LocalFile:
    """One file as `stat` saw it; any write to it, or another file in its place, makes a different one."""

    path: str
    size: int
    mtime_ns: int
    inode: int
    device: int


@dataclass(frozen=True, slots=True)
class Tree:
    """All that a checkpoint consists of. For one of kind `file`, the only path is empty: `root` itself."""

    root: Path
    kind: Kind
    files: tuple[LocalFile, ...]
    links: tuple[StoredLink, ...]

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(file.size for file in self.files)

    def locate(self, file: LocalFile) -> Path:
        """Where a file lies."""
        return self.root / file.path if file.path else self.root


def read_tree(root: Path) -> Tree:
    """Look at everything below `root` (or at the one file that it is); blocks.

    Raises NotFound if there is nothing, TierUnavailable if it cannot be read, and Usage for what cannot be restored:
    pipes and devices, links that lead outside, names that no other system takes.
    """
    try:
        about = os.stat(root)
        if stat.S_ISREG(about.st_mode):
            return Tree(root, "file", (_seen("", about),), ())
        if not stat.S_ISDIR(about.st_mode):
            raise Usage(f"{root} is neither a directory nor a file", hint="name what training wrote")
        return _read_directory(root)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"there is no {root}", hint="name the directory or file that training wrote") from None
    except OSError as error:
        raise TierUnavailable(f"{root} cannot be read: {error.strerror}", hint="check its permissions") from error


def is_unchanged(tree: Tree, file: LocalFile) -> bool:
    """True if the file is still the one that was seen; blocks."""
    try:
        return _seen(file.path, os.stat(tree.locate(file))) == file
    except OSError:
        return False


def _read_directory(root: Path) -> Tree:
    files: list[LocalFile] = []
    links: list[StoredLink] = []
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path, about in walk.files(fd):
            if stat.S_ISREG(about.st_mode):
                files.append(_seen(path, about))
            elif stat.S_ISLNK(about.st_mode):
                links.append(StoredLink(path, os.readlink(path, dir_fd=fd)))
            else:
                raise Usage(f"{root / path} is a pipe, socket or device", hint="move it out of the checkpoint")
    finally:
        os.close(fd)
    _check(root, files, links)
    return Tree(root, "directory", tuple(files), tuple(links))


def _check(root: Path, files: list[LocalFile], links: list[StoredLink]) -> None:
    if not files:
        raise Usage(f"{root} has no files in it", hint="name the directory or file that training wrote")
    try:
        check_layout([StoredFile(file.path, file.size, _NOWHERE) for file in files], links)
    except Usage as error:
        hint = "rename the file, or replace the link by what it leads to"
        raise Usage(f"{root} cannot be stored as it is: {error.detail}", hint=hint) from None


def _seen(path: str, about: os.stat_result) -> LocalFile:
    return LocalFile(path, about.st_size, about.st_mtime_ns, about.st_ino, about.st_dev)
