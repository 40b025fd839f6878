"""How a snapshot leaves: backwards, each step safe to repeat; the seal in the trash notes what is unfinished."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from cachemgr.domain.manifest import Manifest
from cachemgr.tiers import walk
from cachemgr.tiers.durable import names, now, remove_file, sync_directory
from cachemgr.tiers.hubcache import HubCache
from cachemgr.tiers.layout import Layout
from cachemgr.tiers.notes import RefFiles
from cachemgr.tiers.parts import is_over
from cachemgr.tiers.seals import SealFiles, read_seal
from cachemgr.tiers.trash import BLOB, SEAL, SNAPSHOT, SPARE, Trash


class Removal:
    """All methods block; the caller has made sure that nobody reads or publishes the snapshot."""

    def __init__(self, layout: Layout, seals: SealFiles) -> None:
        self._layout = layout
        self._seals = seals
        self._hub = HubCache(layout)
        self._refs = RefFiles(layout)

    def discard(self, id: str) -> int:
        """Remove a snapshot, or finish what an earlier attempt began; the bytes freed without counting blobs."""
        freed = sum(self.finish(trash) for trash, _ in [*self.unfinished(id)])
        seal = self._seals.read(id)
        if seal is None:
            return freed
        trash = Trash.begin(self._layout)
        if seal.manifest.scheme == "hf":
            self._hub.withdraw_refs(seal.manifest, trash)
        self._refs.forget(id)
        self._unseal(id, trash)
        return freed + self.finish(trash)

    def _unseal(self, id: str, trash: Trash) -> None:
        """Make the snapshot absent, durably, before a single file of it is touched."""
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._layout.seal(id), trash.path / SEAL)
        sync_directory(trash.path)
        sync_directory(self._layout.manifests)

    def finish(self, trash: Trash) -> int:
        """Take away what a removed seal spoke of, unless it was sealed again meanwhile; the bytes freed."""
        seal = read_seal(trash.path / SEAL, None)
        if seal is None or self._layout.seal(seal.manifest.id).exists():
            return trash.empty()
        self._take_directory(seal.manifest, trash)
        if seal.manifest.scheme == "hf":
            self._hub.withdraw_blobs(seal.manifest, self._needed(seal.manifest), trash)
            self._hub.withdraw_tree(seal.manifest, trash)
        remove_file(self._layout.use(seal.manifest.id))
        return trash.empty()

    def unfinished(self, id: str | None = None) -> Iterator[tuple[Trash, str]]:
        """The removals (of one snapshot) that have a seal in the trash, with the snapshot's id."""
        for name in names(self._layout.trash):
            path = self._layout.trash / name
            seal = read_seal(path / SEAL, None) if (path / SEAL).is_file() else None
            if seal is not None and id in (None, seal.manifest.id):
                yield Trash(self._layout, path), seal.manifest.id

    def sweep(self) -> None:
        """Clear the workspaces of processes that have ended, and those that nobody touched for a day."""
        clock = now(self._layout.staging)
        for directory in (self._layout.staging, self._layout.trash):
            with walk.opened(self._layout.root, directory) as here:
                for name in sorted(os.listdir(here)):
                    info = walk.look(here, name)
                    if (
                        info
                        and name != SPARE
                        and not name.startswith(BLOB)
                        and is_over(name.rpartition(".")[2], info.st_mtime, clock)
                    ):
                        self._clear(here, name)

    def _clear(self, here: int, name: str) -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), walk.below(here, [name]) as inside:
            if walk.look(inside, SEAL) is not None:
                return  # a removal that somebody else is finishing, or that is finished by the next sweep
        walk.remove(here, name)

    def _take_directory(self, manifest: Manifest, trash: Trash) -> None:
        path, anchor = self._layout.snapshot(manifest), self._layout.anchor(manifest.scheme)
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            walk.opened(anchor, path.parent) as parent,
        ):
            if trash.look(SNAPSHOT) is None:
                trash.take(parent, path.name, SNAPSHOT)
            sync_directory(parent)

    def _needed(self, manifest: Manifest) -> set[str]:
        """The etags of the files of the other sealed snapshots of this repository."""
        others = (seal.manifest for seal in self._seals.all() if seal.manifest.id != manifest.id)
        same = (other for other in others if (other.scheme, other.name) == (manifest.scheme, manifest.name))
        return {entry.etag for other in same for entry in other.entries if entry.etag}
