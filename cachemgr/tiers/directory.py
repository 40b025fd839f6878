"""A tier on a directory: opened, its layout checked, its parts put together."""

from __future__ import annotations

import errno
import logging
import os
from functools import partial
from pathlib import Path

from cachemgr.aio.iopool import IoPool
from cachemgr.domain.errors import TierUnavailable, Usage
from cachemgr.tiers.access import Access
from cachemgr.tiers.blobs import BlobStore
from cachemgr.tiers.durable import FULL, make_directory, read_json, remove_file, write_json, write_scratch
from cachemgr.tiers.layout import LAYOUT_VERSION, Layout
from cachemgr.tiers.notes import Pins, RefBook, Uses
from cachemgr.tiers.ports import Hasher
from cachemgr.tiers.snapshots import Exclusive, SnapshotStore
from cachemgr.tiers.trash import SPARE

log = logging.getLogger(__name__)

_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


class DirectoryTier:
    """One tier: `name` is volume, local or disk; `device` tells tiers on one file system from others."""

    def __init__(self, layout: Layout, access: Access, pool: IoPool, hasher: Hasher, device: int) -> None:
        self.name = access.name
        self.root = layout.root
        self.layout = layout
        self.local = access.local
        self.writable = access.writable
        self.refusal = access.refusal
        self.device = device
        self.blobs = BlobStore(layout, access, pool, hasher)
        self.snapshots = SnapshotStore(layout, access, pool, hasher)
        self.refs = RefBook(layout, access, pool)
        self.pins = Pins(layout, access, pool)
        self.uses = Uses(layout, access, pool)

    @classmethod
    async def open(
        cls, name: str, root: Path, pool: IoPool, plane: Hasher, *, local: bool, hub: Path | None = None
    ) -> DirectoryTier:
        """The tier at `root`, made if need be; `hub` only where the hub's cache is not below it.

        A read-only file system and a newer layout give a tier that can be read (`writable` is False, `refusal` says
        why). Raises TierUnavailable if there is no directory to be had, or it cannot be looked at.
        """
        layout, access, device = await pool.run(_opened, name, root, local, hub)
        if access.refusal:
            log.warning("a tier can only be read", extra={"tier": name, "path": str(root), "reason": access.refusal})
        return cls(layout, access, pool, plane, device)

    async def measure(self) -> int:
        """The bytes that the cache takes here: blobs, partial files, quarantine, and sealed files that are no links."""
        sealed = await self.snapshots.scan()
        return await self.blobs.measure() + sum(each.unlinked_bytes for each in sealed)

    async def sweep(self, exclusive: Exclusive) -> None:
        """Clear up after processes that have ended, as far as possible; `exclusive` is that of the tier's holds."""
        for sweep in (self.blobs.sweep, partial(self.snapshots.sweep, exclusive)) if self.writable else ():
            try:
                await sweep()
            except OSError as error:
                # What cannot be cleared up now takes space until the next time, and nothing else.
                log.warning("a tier could not be cleared up", extra={"tier": self.name, "error": str(error)})


def _opened(name: str, root: Path, local: bool, hub: Path | None) -> tuple[Layout, Access, int]:
    try:
        make_directory(root)
        layout = Layout(Path(os.path.realpath(root)), None if hub is None else Path(os.path.realpath(hub)))
        refusal = _prepare(layout)
        _look(layout)
        device = os.stat(layout.root).st_dev
        if os.path.isdir(layout.hub) and os.stat(layout.hub).st_dev != device:
            raise OSError(errno.EXDEV, f"{layout.hub} is on another file system")
    except OSError as error:
        raise TierUnavailable(
            f"the {name} tier at {root} cannot be used: {error.strerror or error}", tier=name
        ) from error
    return layout, Access(name, layout.root, local, refusal), device


def _prepare(layout: Layout) -> str | None:
    """Make what is missing; one sentence if that cannot be done but reading can."""
    refusal = _layout_refusal(layout)
    if refusal:
        return refusal
    try:
        for directory in layout.directories:
            make_directory(directory)
        make_directory(layout.trash / SPARE)
        make_directory(layout.hub)
        if not layout.version.exists():
            write_json(layout.version, {"layout": LAYOUT_VERSION}, layout.staging)
        remove_file(write_scratch(layout.staging, b""))
    except OSError as error:
        if error.errno in FULL and layout.version.exists():
            return None  # a full tier is opened to make room on it
        if error.errno not in _READ_ONLY:
            raise
        return error.strerror
    return None


def _layout_refusal(layout: Layout) -> str | None:
    try:
        raw = read_json(layout.version)
    except Usage:
        return "its layout.json is damaged"
    found = LAYOUT_VERSION if raw is None else raw.get("layout")
    if found == LAYOUT_VERSION:
        return None
    return f"its layout is {found!r}, and this version of cachemgr knows {LAYOUT_VERSION}"


def _look(layout: Layout) -> None:
    """Raise OSError if what is ours is not ours: a link there would lead our writes elsewhere."""
    for directory in layout.directories:
        try:
            os.close(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW))
        except FileNotFoundError:
            continue
        except NotADirectoryError as error:
            raise OSError(errno.ENOTDIR, f"{directory} is a link or a file") from error
