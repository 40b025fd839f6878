"""Small notes beside the snapshots: what refs were resolved to, what is pinned, when each was last used."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass

from cachemgr.aio.iopool import IoPool
from cachemgr.domain.errors import CachemgrError, Usage
from cachemgr.domain.manifest import snapshot_id
from cachemgr.domain.ref import Ref
from cachemgr.tiers.access import Access
from cachemgr.tiers.durable import names, read_json, remove_file, sync_directory, write_file, write_json
from cachemgr.tiers.layout import Layout

log = logging.getLogger(__name__)

_UNREADABLE = "a note of a ref cannot be read"


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a ref was last resolved to on this tier, and when (seconds since 1970)."""

    ref: Ref
    revision: str
    at: float

    @property
    def id(self) -> str:
        """The snapshot that it was resolved to."""
        return snapshot_id(self.ref.scheme, self.ref.name, self.revision)


class RefFiles:
    """`refs/<key>.json`; all methods block. The client reads these files, too."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def write(self, note: Resolved) -> None:
        """Remember a resolution, unless a later one to the same revision is there already."""
        ref, old = note.ref.whole, self.read(note.ref)
        if old is not None and old.revision == note.revision and old.at >= note.at:
            return
        value = {
            "ref": str(ref),
            "revision": note.revision,
            "id": note.id,
            "path": self._layout.relative(ref.scheme, ref.name, note.revision),
            "resolved_at": note.at,
        }
        try:
            write_json(self._layout.refs / f"{ref.key}.json", value, self._layout.staging)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            log.warning("a ref is too long to be remembered", extra={"ref": str(ref)})

    def read(self, ref: Ref) -> Resolved | None:
        """What the ref was last resolved to; a damaged note counts as none."""
        return self._read(f"{ref.whole.key}.json")

    def all(self) -> list[Resolved]:
        """Every note that can be read."""
        return [note for name in self._listed() if (note := self._read(name)) is not None]

    def forget(self, id: str) -> None:
        """Remove every note that leads to a snapshot; OSError if one cannot be read."""
        for name in self._listed():
            note = self._parse(name)
            if note is not None and note.id == id:
                remove_file(self._layout.refs / name)
        sync_directory(self._layout.refs)

    def _listed(self) -> list[str]:
        return [name for name in names(self._layout.refs) if name.endswith(".json")]

    def _read(self, name: str) -> Resolved | None:
        try:
            return self._parse(name)
        except OSError as error:
            log.warning(_UNREADABLE, extra={"file": name, "error": str(error)})
            return None

    def _parse(self, name: str) -> Resolved | None:
        try:
            raw = read_json(self._layout.refs / name)
            return None if raw is None else _resolved(raw, name)
        except CachemgrError as error:
            log.warning(_UNREADABLE, extra={"file": name, "error": str(error)})
            return None


def _resolved(raw: Mapping[str, object], name: str) -> Resolved:
    ref, at = Ref.parse(str(raw.get("ref"))), raw.get("resolved_at")
    if f"{ref.key}.json" != name or not isinstance(at, int | float):
        raise Usage(f"{name} is not the note of {ref}")
    return Resolved(ref, ref.at(str(raw.get("revision"))).revision, float(at))


class RefBook:
    """What refs were last resolved to, on one tier."""

    def __init__(self, layout: Layout, access: Access, pool: IoPool) -> None:
        self._files = RefFiles(layout)
        self._access = access
        self._pool = pool

    async def remember(self, ref: Ref, revision: str, at: float) -> None:
        """The ref was this revision at that time; only for a revision that is sealed here."""
        self._access.check()
        await self._pool.run(self._files.write, Resolved(ref.whole, revision, at))

    async def recall(self, ref: Ref) -> Resolved | None:
        """What the ref was last resolved to."""
        return await self._pool.run(self._files.read, ref)

    async def all(self) -> list[Resolved]:
        """Everything that is remembered."""
        return await self._pool.run(self._files.all)


class Pins:
    """Snapshots that an operator protects: one empty file each."""

    def __init__(self, layout: Layout, access: Access, pool: IoPool) -> None:
        self._layout = layout
        self._access = access
        self._pool = pool

    async def add(self, id: str) -> None:
        """Protect a snapshot until `remove`; again changes nothing."""
        self._access.check()
        await self._pool.run(write_file, self._layout.pin(id), b"", self._layout.staging)

    async def remove(self, id: str) -> None:
        """End the protection, if there is any."""
        self._access.check()
        await self._pool.run(self._remove, id)

    async def all(self) -> frozenset[str]:
        """The ids of all pinned snapshots."""
        return frozenset(await self._pool.run(names, self._layout.pins))

    def _remove(self, id: str) -> None:
        if remove_file(self._layout.pin(id)):
            sync_directory(self._layout.pins)


class Uses:
    """When each snapshot was last used: the mtime of one empty file each, which survives a restart."""

    def __init__(self, layout: Layout, access: Access, pool: IoPool) -> None:
        self._layout = layout
        self._access = access
        self._pool = pool

    async def touch(self, id: str) -> None:
        """Used now; on a tier that we may not write, nothing."""
        if self._access.writable:
            await self._pool.run(self._touch, id)

    async def all(self) -> dict[str, float]:
        """The time of last use (seconds since 1970) of each id that was ever used."""
        return await self._pool.run(self._all)

    def _touch(self, id: str) -> None:
        fd = os.open(self._layout.use(id), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        try:
            os.utime(fd)
        finally:
            os.close(fd)

    def _all(self) -> dict[str, float]:
        found = {}
        for name in names(self._layout.used):
            try:
                found[name] = os.lstat(self._layout.used / name).st_mtime
            except FileNotFoundError:
                continue
        return found
