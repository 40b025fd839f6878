"""The seal: the file whose existence says that a snapshot is ours, complete and verified."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cachemgr.domain.errors import CachemgrError, Usage
from cachemgr.domain.manifest import Entry, Manifest
from cachemgr.tiers import walk
from cachemgr.tiers.durable import names, read_json, remove_file, sync_directory, write_json
from cachemgr.tiers.layout import Layout, one_name

log = logging.getLogger(__name__)

_SUFFIX = ".json"
_SAMPLE = 64
_UNREADABLE = "a seal cannot be read: its snapshot counts as absent"


@dataclass(frozen=True, slots=True)
class Origins:
    """Whose the files of a snapshot are, as far as they are not links to our blobs.

    `foreign`: paths of others' files that were right and stayed. `copies`: ours, where links were refused.
    `strangers`: there is more in the directory than the manifest lists.
    """

    foreign: frozenset[str] = frozenset()
    copies: frozenset[str] = frozenset()
    strangers: bool = False

    @property
    def adopted(self) -> bool:
        """True if something in there belongs to others: such a snapshot is never removed automatically."""
        return bool(self.foreign) or self.strangers


@dataclass(frozen=True, slots=True)
class Seal:
    """What a seal says; `sealed_at` is in seconds since 1970."""

    manifest: Manifest
    sealed_at: float
    origins: Origins

    def to_json(self) -> dict[str, object]:
        """The manifest, and what we know beside it."""
        return {
            **self.manifest.to_json(),
            "sealed_at": self.sealed_at,
            "adopted": self.origins.adopted,
            "foreign": sorted(self.origins.foreign),
            "copies": sorted(self.origins.copies),
            "strangers": self.origins.strangers,
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, object]) -> Seal:
        """Read a seal, trusting nothing; raises Usage."""
        manifest, sealed_at = Manifest.from_json(raw), raw.get("sealed_at")
        if not isinstance(sealed_at, int | float) or isinstance(sealed_at, bool):
            raise Usage(f"{manifest.id} does not say when it was sealed")
        for entry in manifest.entries:
            if entry.digest.algorithm != "sha256":
                raise Usage(f"{manifest.id} has no sha256 for {entry.path[:80]!r}")
        origins = Origins(_paths(raw, "foreign"), _paths(raw, "copies"), raw.get("strangers") is True)
        return cls(manifest, float(sealed_at), origins)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A snapshot that is complete and verified, and where it is.

    `unlinked_bytes` are those of its files that are not links to our blobs: no listing of blobs counts them.
    """

    manifest: Manifest
    path: Path
    adopted: bool
    sealed_at: float
    unlinked_bytes: int = 0


class SealFiles:
    """`manifests/<id>.json`; all methods block."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._parsed: dict[str, tuple[tuple[int, ...], Seal | None]] = {}

    def write(self, seal: Seal) -> None:
        """Seal, durably: what it speaks of must be durable already."""
        write_json(self._layout.seal(seal.manifest.id), seal.to_json(), self._layout.staging)

    def read(self, id: str) -> Seal | None:
        """The seal of a snapshot; a damaged one is none, and said so in the log. OSError if it cannot be read."""
        return read_seal(self._layout.seal(id), id)

    def peek(self, id: str) -> Seal | None:
        """`read` for those who only look: what cannot be read right now is none, and an unchanged file is not read."""
        try:
            info = os.lstat(self._layout.seal(id))
            # A seal is only ever replaced as a whole: another one has another inode or another time.
            stamp = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
            known = self._parsed.get(id)
            if known is None or known[0] != stamp:
                known = self._parsed[id] = (stamp, self.read(id))
            return known[1]
        except FileNotFoundError:
            self._parsed.pop(id, None)
            return None
        except OSError as error:
            log.warning(_UNREADABLE, extra={"id": id, "error": str(error)})
            return None

    def remove(self, id: str) -> None:
        """Make a snapshot absent, durably."""
        if remove_file(self._layout.seal(id)):
            sync_directory(self._layout.manifests)

    def all(self) -> list[Seal]:
        """Every seal that can be read."""
        return [seal for id in filter(_is_id, self._listed()) if (seal := self.peek(id)) is not None]

    def _listed(self) -> list[str]:
        return [name.removesuffix(_SUFFIX) for name in names(self._layout.manifests) if name.endswith(_SUFFIX)]

    def present(self, seal: Seal | None) -> Sealed | None:
        """What a seal speaks of, if its directory still looks like it; else None, and a line in the log.

        Somebody may have deleted the directory and let another client fill it anew: then its files are links into
        other places, or have other sizes. A sample is looked at, so that thousands of files cost no more than a few.
        """
        if seal is None:
            return None
        path, anchor = self._layout.snapshot(seal.manifest), self._layout.anchor(seal.manifest.scheme)
        try:
            with walk.opened(anchor, path) as root:
                if all(_is_file_of(root, entry) for entry in _sample(seal.manifest.entries)):
                    return self.sealed(seal)
        except (FileNotFoundError, NotADirectoryError):
            pass
        log.warning("a sealed snapshot was changed by others: it counts as absent", extra={"id": seal.manifest.id})
        return None

    def sealed(self, seal: Seal) -> Sealed:
        """A seal with what follows from it."""
        apart = seal.origins.foreign | seal.origins.copies
        unlinked_bytes = sum(entry.size for entry in seal.manifest.entries if entry.path in apart)
        path = self._layout.snapshot(seal.manifest)
        return Sealed(seal.manifest, path, seal.origins.adopted, seal.sealed_at, unlinked_bytes)


def _is_id(name: str) -> bool:
    try:
        return one_name(name) == name
    except Usage:
        return False


def _sample(entries: Sequence[Entry]) -> Sequence[Entry]:
    return entries[:: 1 + len(entries) // _SAMPLE]


def _is_file_of(root: int, entry: Entry) -> bool:
    info = walk.look(root, entry.path)
    return info is not None and stat.S_ISREG(info.st_mode) and info.st_size == entry.size


def read_seal(path: Path, id: str | None) -> Seal | None:
    """The seal in a file, if it is one (of this id); else None, and a line in the log. OSError if it cannot be read."""
    try:
        raw = read_json(path)
        if raw is None:
            return None
        seal = Seal.from_json(raw)
        if id not in (None, seal.manifest.id):
            raise Usage(f"it is the seal of {seal.manifest.id}")
    except CachemgrError as error:
        log.warning(_UNREADABLE, extra={"file": path.name, "error": str(error)})
        return None
    return seal


def _paths(raw: Mapping[str, object], key: str) -> frozenset[str]:
    value = raw.get(key, [])
    if not isinstance(value, list) or not all(isinstance(path, str) for path in value):
        raise Usage(f"the seal's {key} are no list of paths")
    return frozenset(value)
