"""How a snapshot is published: its directory, the seal, our ref, the hub's ref; each durable before the next."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from cachemgr.domain.errors import TierUnavailable, VerificationFailed
from cachemgr.domain.manifest import Entry, Manifest
from cachemgr.domain.names import check_relative
from cachemgr.domain.ref import Ref
from cachemgr.tiers import walk
from cachemgr.tiers.durable import sync_directory
from cachemgr.tiers.hubcache import HubCache
from cachemgr.tiers.laying import Changed, Filler, Stamp, build, survey
from cachemgr.tiers.layout import Layout
from cachemgr.tiers.links import Linker, linker
from cachemgr.tiers.notes import RefFiles, Resolved
from cachemgr.tiers.seals import Seal, Sealed, SealFiles

_MOVED = "a commit cannot change: check the origin, then remove this snapshot and pull again"
_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})


class Publication:
    """One attempt to publish one manifest; its methods block."""

    def __init__(self, layout: Layout, seals: SealFiles, manifest: Manifest) -> None:
        for entry in manifest.entries:
            check_relative(entry.path)
            if entry.digest.algorithm != "sha256":
                raise ValueError(f"{manifest.id}: {entry.path} has no sha256")
        self._layout = layout
        self._seals = seals
        self._manifest = manifest
        self._path = layout.snapshot(manifest)
        self._anchor = layout.anchor(manifest.scheme)

    def survey(self) -> dict[str, Stamp]:
        """Others' files in the way that may be right; they must be hashed before `publish`."""
        old = self._old()
        known = frozenset() if old is None else old.origins.foreign | old.origins.copies
        entries = [entry for entry in self._manifest.entries if entry.path not in known]
        try:
            with walk.opened(self._anchor, self._path) as root, self._blobs() as blobs:
                return survey(root, entries, blobs)
        except (FileNotFoundError, NotADirectoryError):
            return {}

    def publish(self, right: Mapping[str, Stamp], ref: Ref | None, at: float) -> Sealed:
        """Do it; `right` are the surveyed files whose bytes were right. Raises Changed if others were faster."""
        old = self._old()
        with self._parent() as parent, linker(self._layout, self._manifest.id) as (links, workspace):
            root = self._enter(parent)
            if root is None:
                seal, identity = self._built(links, workspace, parent)
            else:
                try:
                    seal, identity = self._filled(old, links, right, root), os.fstat(root)
                finally:
                    os.close(root)
            sync_directory(parent)
        self._sync_parents()
        if seal != old:
            self._seals.write(seal)
        self._confirm(identity)
        self._name(seal, ref, at)
        return self._seals.sealed(seal)

    def _built(self, links: Linker, workspace: Path, parent: int) -> tuple[Seal, os.stat_result]:
        """Build it aside and rename it into place: the usual way."""
        tree = workspace / "tree"
        origins = build(tree, self._manifest.entries, links)
        identity = os.lstat(tree)
        try:
            # A directory replaces an empty one only; whatever is in another's way stays as it is.
            os.rename(tree, self._path.name, dst_dir_fd=parent)
        except OSError as error:
            if error.errno in _TAKEN:
                raise Changed(self._path.name) from None
            raise
        return Seal(self._manifest, time.time(), origins), identity

    def _filled(self, old: Seal | None, links: Linker, right: Mapping[str, Stamp], root: int) -> Seal:
        """Complete what is there: begun by another client, filtered, interrupted, or complete already."""
        goal = self._manifest if old is None else _merged(old.manifest, self._manifest)
        filler = Filler(root, links, self._layout, right, old)
        try:
            filler.fill(self._manifest.entries)
            return Seal(goal, time.time() if old is None else old.sealed_at, filler.origins(goal))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Changed(str(error.filename)) from error

    def _confirm(self, identity: os.stat_result) -> None:
        """Raise Changed if the directory was moved away while we sealed it; then it is sealed no more."""
        try:
            with walk.opened(self._anchor, self._path) as root:
                if os.path.samestat(os.fstat(root), identity):
                    return
        except (FileNotFoundError, NotADirectoryError):
            pass
        self._seals.remove(self._manifest.id)
        raise Changed(self._path.name)

    def _name(self, seal: Seal, ref: Ref | None, at: float) -> None:
        notes = RefFiles(self._layout)
        for name in {seal.manifest.ref, *([] if ref is None else [ref.whole])}:
            notes.write(Resolved(name, seal.manifest.revision, at))
        HubCache(self._layout).announce(seal.manifest, ref)

    @contextmanager
    def _parent(self) -> Iterator[int]:
        with ExitStack() as stack:
            try:
                parent = stack.enter_context(walk.opened(self._anchor, self._path.parent, make=True))
            except NotADirectoryError:
                raise _not_ours(self._path.parent) from None
            yield parent

    def _old(self) -> Seal | None:
        """The seal that is there, unless what it speaks of is not."""
        seal = self._seals.read(self._manifest.id)
        return seal if self._seals.present(seal) else None

    def _blobs(self) -> AbstractContextManager[int]:
        return walk.opened(self._layout.root, self._layout.blobs)

    def _enter(self, parent: int) -> int | None:
        try:
            return walk.step(parent, self._path.name)
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise _not_ours(self._path) from None

    def _sync_parents(self) -> None:
        """Others may have made the directories above without making them durable."""
        path = self._path.parent
        while path != self._anchor:
            path = path.parent
            sync_directory(path)


def _merged(old: Manifest, new: Manifest) -> Manifest:
    """What is sealed, and what comes now; raises VerificationFailed if they are not the same revision."""
    before = {entry.path: entry for entry in old.files}
    sizes = {entry.path: entry.size for entry in new.files}
    if sizes != {path: entry.size for path, entry in before.items()}:
        raise VerificationFailed(f"{new.id} lists other files than its seal", hint=_MOVED, id=new.id)
    for entry in new.entries:
        known = before[entry.path]
        if old.have is None or entry.path in old.have:
            _same(known, entry)
    return old.sealed({entry.path: entry.digest for entry in new.entries}).widened(e.path for e in new.entries)


def _same(known: Entry, entry: Entry) -> None:
    if known.digest != entry.digest:
        raise VerificationFailed(
            f"{entry.path} is not what it was when this revision was sealed",
            hint=_MOVED,
            file=entry.path,
            expected=str(known.digest),
            found=str(entry.digest),
        )


def _not_ours(path: Path) -> TierUnavailable:
    return TierUnavailable(
        f"{path} is a link or a file, and cachemgr writes through neither", hint="move it away, or choose another path"
    )
