"""From a blob to a name in a snapshot: a hard link, or a copy where the file system refuses one."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cachemgr.domain.errors import CachemgrError, VerificationFailed
from cachemgr.domain.manifest import Entry
from cachemgr.tiers import walk
from cachemgr.tiers.durable import NO_LINKS, make_directory
from cachemgr.tiers.layout import Layout, blob_name
from cachemgr.tiers.owner import Owner

_CHUNK_BYTES = 1 << 20


class BlobGone(CachemgrError):
    """A blob that a snapshot needs was taken away meanwhile: look again, fetch it, and publish once more."""

    retryable = True
    default_hint = "pull again"


class Linker:
    """Gives blobs names elsewhere; `scratch` is a directory of this process on the same file system."""

    def __init__(self, blobs: int, scratch: int) -> None:
        self._blobs = blobs
        self._scratch = scratch
        self._ours: frozenset[int] | None = None

    def is_blob(self, entry: Entry, info: os.stat_result) -> bool:
        """True if this file is a link to the entry's blob."""
        return is_blob(self._blobs, entry, info)

    def is_ours(self, info: os.stat_result) -> bool:
        """True if this file is a link to any blob."""
        if self._ours is None:
            with os.scandir(self._blobs) as entries:
                self._ours = frozenset(entry.inode() for entry in entries)
        return info.st_ino in self._ours

    def place(self, entry: Entry, directory: int, name: str) -> bool:
        """Give the entry's blob a new name: True if linked, False if copied.

        Raises FileExistsError if the name is taken, BlobGone, OSError.
        """
        if self._link(entry, directory, name):
            return True
        scratch = self._copy(entry)
        if walk.look(directory, name) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        os.rename(scratch, name, src_dir_fd=self._scratch, dst_dir_fd=directory)
        return False

    def replace(self, entry: Entry, directory: int, name: str) -> bool:
        """Put the entry's blob in place of what is there under a name, at once: True if linked, False if copied."""
        scratch = Owner.current().unique_name()
        linked = self._link(entry, self._scratch, scratch)
        if not linked:
            scratch = self._copy(entry)
        os.rename(scratch, name, src_dir_fd=self._scratch, dst_dir_fd=directory)
        return linked

    def _link(self, entry: Entry, directory: int, name: str) -> bool:
        source = blob_name(entry.digest)
        try:
            os.link(source, name, src_dir_fd=self._blobs, dst_dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            self._require(entry)
            raise
        except OSError as error:
            if error.errno in NO_LINKS or (error.errno == errno.ENOSPC and self._has_room(entry.size)):
                return False
            raise
        self._check(entry, walk.look(directory, name))
        return True

    def _require(self, entry: Entry) -> None:
        if walk.look(self._blobs, blob_name(entry.digest)) is None:
            raise BlobGone(f"the blob of {entry.path} is not here any more")

    def _check(self, entry: Entry, info: os.stat_result | None) -> None:
        if info is not None and info.st_size != entry.size:
            raise VerificationFailed(
                f"the blob of {entry.path} has {info.st_size} bytes where {entry.size} were verified",
                file=entry.path,
                expected=str(entry.digest),
                found=f"{info.st_size} bytes",
            )

    def _has_room(self, size: int) -> bool:
        # Some file systems answer ENOSPC to the link that is one too many for an inode.
        free = os.fstatvfs(self._scratch)
        return free.f_bavail * free.f_frsize > size

    def _copy(self, entry: Entry) -> str:
        """A durable, verified copy of a blob under a scratch name."""
        self._require(entry)
        name = Owner.current().unique_name()
        source = os.open(blob_name(entry.digest), os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self._blobs)
        try:
            target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444, dir_fd=self._scratch)
            try:
                found = _pump(source, target)
                os.fsync(target)
            finally:
                os.close(target)
        finally:
            os.close(source)
        if found != entry.digest.value:
            raise VerificationFailed(
                f"the blob of {entry.path} went bad", file=entry.path, expected=str(entry.digest), found=found
            )
        return name


@contextmanager
def linker(layout: Layout, id: str) -> Iterator[tuple[Linker, Path]]:
    """A linker, and a directory of this process where a snapshot can be built; both are gone afterwards."""
    name = f"{id[:120]}.{Owner.current().unique_name()}"
    workspace = layout.staging / name
    make_directory(workspace)
    blobs = os.open(layout.blobs, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        with walk.opened(layout.staging, workspace) as scratch:
            yield Linker(blobs, scratch), workspace
    finally:
        os.close(blobs)
        with walk.opened(layout.staging, layout.staging) as staging, suppress(OSError):
            walk.remove(staging, name)


def is_blob(blobs: int, entry: Entry, info: os.stat_result) -> bool:
    """True if this file is a link to the entry's blob; `blobs` is a descriptor of their directory."""
    blob = walk.look(blobs, blob_name(entry.digest))
    return blob is not None and os.path.samestat(blob, info)


def _pump(source: int, target: int) -> str:
    digest = hashlib.sha256()
    while chunk := os.read(source, _CHUNK_BYTES):
        digest.update(chunk)
        view = memoryview(chunk)
        while view:
            view = view[os.write(target, view) :]
    return digest.hexdigest()
