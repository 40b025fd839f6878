"""From a ref to what it is: asked at the origin, or read from what it was last resolved to."""

from __future__ import annotations

import glob
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cachemgr.domain.errors import NotFound, OriginUnavailable, Usage
from cachemgr.domain.manifest import Manifest, snapshot_id
from cachemgr.domain.ref import Ref
from cachemgr.library.ports import Origin
from cachemgr.library.shelf import Shelf
from cachemgr.tiers.snapshots import Sealed


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a ref is: its whole manifest, when that was true (seconds since 1970), and whether it may be outdated."""

    manifest: Manifest
    resolved_at: float
    stale: bool = False


class Resolver:
    """Knows the origins by scheme, and what every tier remembers."""

    def __init__(self, origins: Mapping[str, Origin], shelves: Sequence[Shelf]) -> None:
        self._origins = origins
        self._shelves = shelves

    async def ask(self, ref: Ref, allow_stale: bool) -> Resolution:
        """Ask the origin, unless the ref is a commit whose list of files is sealed here: that cannot have changed.

        With the origin away: the newest sealed revision, marked stale, if `allow_stale`; else OriginUnavailable.
        """
        if ref.fixed and (sealed := await self._sealed(ref, ref.revision)):
            return Resolution(_whole(sealed.manifest), sealed.sealed_at)
        try:
            return Resolution(await self.origin(ref.scheme).resolve(ref.whole), time.time())
        except OriginUnavailable:
            known = await self.recall(ref) if allow_stale else None
            if known is None:
                raise
            return Resolution(known.manifest, known.resolved_at, stale=True)

    async def recall(self, ref: Ref) -> Resolution | None:
        """The newest revision that the ref was resolved to and that is sealed on some tier; no origin is asked."""
        if ref.fixed:
            sealed = await self._sealed(ref, ref.revision)
            return None if sealed is None else Resolution(_whole(sealed.manifest), sealed.sealed_at)
        notes = [note for shelf in self._shelves if (note := await shelf.tier.refs.recall(ref.whole)) is not None]
        for note in sorted(notes, key=lambda note: note.at, reverse=True):
            if sealed := await self._sealed(ref, note.revision):
                return Resolution(_whole(sealed.manifest), note.at)
        return None

    def origin(self, scheme: str) -> Origin:
        """The origin of a scheme; raises Usage."""
        origin = self._origins.get(scheme)
        if origin is None:
            raise Usage(f"no origin serves {scheme}:// refs")
        return origin

    async def _sealed(self, ref: Ref, revision: str) -> Sealed | None:
        id = snapshot_id(ref.scheme, ref.name, revision)
        for shelf in self._shelves:
            if (sealed := await shelf.find(id)) is not None:
                return sealed
        return None


def narrowed(manifest: Manifest, ref: Ref, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Manifest:
    """The files of a revision that a ref and its patterns ask for.

    Raises NotFound if the revision does not have the ref's path, Usage if no file matches the patterns.
    """
    if ref.path:
        if not any(entry.path == ref.path or entry.path.startswith(f"{ref.path}/") for entry in manifest.entries):
            raise NotFound(f"{ref} is neither a file nor a folder of that revision")
        path = glob.escape(ref.path)
        manifest = manifest.select([path, f"{path}/"], [])
    return manifest.select(include, exclude)


def _whole(manifest: Manifest) -> Manifest:
    return Manifest(manifest.scheme, manifest.name, manifest.revision, manifest.files)
