"""The directory of blobs: one file per sha256, read-only, linked by every snapshot that has it."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from cachemgr.domain.digest import Digest
from cachemgr.tiers.durable import NO_LINKS, names, remove_file, sync_directory
from cachemgr.tiers.layout import Layout
from cachemgr.tiers.owner import Owner
from cachemgr.tiers.parts import is_over
from cachemgr.tiers.quarantine import Quarantine

_NAME = re.compile(r"sha256-(?P<hex>[0-9a-f]{64})", re.ASCII)
_TRASHED = re.compile(r"sha256-(?P<hex>[0-9a-f]{64})\.(?P<owner>.+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class BlobFile:
    """One blob as its directory shows it; `changed` is when its links last changed, by the tier's clock."""

    digest: Digest
    size: int
    links: int
    changed: float


class BlobFiles:
    """All methods block: call them in the tier's pool."""

    def __init__(self, layout: Layout, quarantine: Quarantine) -> None:
        self._layout = layout
        self._quarantine = quarantine

    def size(self, digest: Digest) -> int | None:
        """The size of a blob that is here, else None."""
        try:
            info = os.lstat(self._layout.blob(digest))
        except FileNotFoundError:
            return None
        return info.st_size if stat.S_ISREG(info.st_mode) else None

    def publish(self, part: Path, digest: Digest, size: int) -> None:
        """Give verified bytes, which are durable already, their final name, durably too, unless they have it."""
        # Some network file systems refuse chmod even to root; read-only is a courtesy, not what we rely on.
        with contextlib.suppress(PermissionError):
            os.chmod(part, 0o444)
        final = self._layout.blob(digest)
        try:
            os.link(part, final, follow_symlinks=False)
        except FileExistsError:
            if self.size(digest) != size:
                # Cut short behind our back: what we hold is right, so the other must not stay.
                self.condemn(digest, f"its size is not {size}")
                os.link(part, final, follow_symlinks=False)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            os.replace(part, final)
        sync_directory(self._layout.blobs)

    def reclaim(self, digest: Digest) -> int:
        """Delete a blob that nothing else links; the bytes freed: 0 if it is linked or gone."""
        path = self._layout.blob(digest)
        trashed = self._layout.trash / f"{path.name}.{Owner.current().unique_name()}"
        try:
            if os.lstat(path).st_nlink > 1:
                return 0
            os.rename(path, trashed)
        except FileNotFoundError:
            return 0
        return self._settle(trashed, path)

    def _settle(self, trashed: Path, path: Path) -> int:
        info = os.lstat(trashed)
        if info.st_nlink > 1:
            # Linked between the look and the rename: it is wanted, so its name comes back.
            with contextlib.suppress(FileExistsError):
                os.link(trashed, path, follow_symlinks=False)
                sync_directory(self._layout.blobs)
        remove_file(trashed)
        return info.st_size if info.st_nlink == 1 else 0

    def sweep_trash(self, now: float) -> None:
        """Finish what reclaimers began that have ended, or that nobody heard of for a day by the tier's clock."""
        for name in names(self._layout.trash):
            path, found = self._layout.trash / name, _TRASHED.fullmatch(name)
            with contextlib.suppress(FileNotFoundError):
                if found and is_over(found["owner"], os.lstat(path).st_ctime, now):
                    self._settle(path, self._layout.blob(Digest.sha256(found["hex"])))

    def condemn(self, digest: Digest, reason: str) -> os.stat_result | None:
        """Move a blob whose bytes went bad to quarantine; what it was, None if it was not here."""
        path = self._layout.blob(digest)
        try:
            info = os.lstat(path)
        except FileNotFoundError:
            return None
        if not self._quarantine.take(path, path.name, {"reason": reason, "expected": str(digest)}):
            # Evidence could not be kept; the bad bytes must not stay under this name all the same.
            remove_file(path)
        sync_directory(self._layout.blobs)
        return info

    def list(self) -> list[BlobFile]:
        """All blobs, by one flat listing."""
        try:
            with os.scandir(self._layout.blobs) as entries:
                return [blob for entry in entries if (blob := _blob(entry)) is not None]
        except FileNotFoundError:
            return []


def _blob(entry: os.DirEntry[str]) -> BlobFile | None:
    named = _NAME.fullmatch(entry.name)
    if named is None:
        return None
    try:
        info = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return BlobFile(Digest.sha256(named["hex"]), info.st_size, info.st_nlink, info.st_ctime)
