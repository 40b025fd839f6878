"""Where everything lies on a tier; the same on every tier."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cachemgr.domain.digest import Digest
from cachemgr.domain.errors import Usage
from cachemgr.domain.manifest import Manifest
from cachemgr.domain.names import check_relative, escape

LAYOUT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below one tier's root; `hub_directory` only where the hub's cache lies elsewhere."""

    root: Path
    hub_directory: Path | None = None

    @property
    def hub(self) -> Path:
        """The Hugging Face cache: what `HF_HUB_CACHE` points to."""
        return self.hub_directory or self.root / "huggingface-cache" / "hub"

    @property
    def own(self) -> Path:
        """What belongs to us alone."""
        return self.root / ".cachemgr"

    @property
    def version(self) -> Path:
        return self.own / "layout.json"

    @property
    def manifests(self) -> Path:
        return self.own / "manifests"

    @property
    def blobs(self) -> Path:
        return self.own / "blobs"

    @property
    def parts(self) -> Path:
        return self.own / "parts"

    @property
    def known(self) -> Path:
        return self.own / "known"

    @property
    def staging(self) -> Path:
        return self.own / "staging"

    @property
    def trash(self) -> Path:
        return self.own / "trash"

    @property
    def quarantine(self) -> Path:
        return self.own / "quarantine"

    @property
    def refs(self) -> Path:
        return self.own / "refs"

    @property
    def pins(self) -> Path:
        return self.own / "pins"

    @property
    def used(self) -> Path:
        return self.own / "used"

    @property
    def holds(self) -> Path:
        return self.own / "holds"

    @property
    def removing(self) -> Path:
        return self.own / "removing"

    @property
    def directories(self) -> tuple[Path, ...]:
        """Every directory that is ours alone, outermost first."""
        inner = (self.manifests, self.blobs, self.parts, self.known, self.staging, self.trash, self.quarantine)
        return (self.own, *inner, self.refs, self.pins, self.used, self.holds, self.removing)

    def repo(self, scheme: str, name: str) -> Path:
        """The directory of one artifact: the hub client's own for `hf`."""
        if scheme == "hf":
            return self.hub / "--".join(["models", *name.split("/")])
        return self.root / "artifacts" / f"{scheme}--{escape(name)}"

    def snapshot(self, manifest: Manifest) -> Path:
        """Where the files of one revision lie."""
        return self.repo(manifest.scheme, manifest.name) / "snapshots" / escape(manifest.revision)

    def anchor(self, scheme: str) -> Path:
        """The directory below which no symbolic link is followed."""
        return self.hub if scheme == "hf" and self.hub_directory else self.root

    def relative(self, scheme: str, name: str, revision: str) -> str:
        """The snapshot's directory relative to the root: a tier is mounted under other names elsewhere."""
        return Path(os.path.relpath(self.snapshot(Manifest(scheme, name, revision, ())), self.root)).as_posix()

    def seal(self, id: str) -> Path:
        """The file whose existence says that a snapshot is ours, complete and verified; raises Usage."""
        return self.manifests / f"{one_name(id)}.json"

    def pin(self, id: str) -> Path:
        """The file whose existence protects a snapshot; raises Usage."""
        return self.pins / one_name(id)

    def use(self, id: str) -> Path:
        """The file whose mtime is a snapshot's last use; raises Usage."""
        return self.used / one_name(id)

    def blob(self, digest: Digest) -> Path:
        """Where the bytes of a sha256 lie."""
        return self.blobs / blob_name(digest)


def one_name(id: str) -> str:
    """The id, if it is one that a file can have here: ids come from callers, too. Raises Usage."""
    if id.startswith((".", "~")) or "/" in check_relative(id):
        raise Usage(f"{id[:80]!r} is no id of a snapshot")
    return id


def blob_name(digest: Digest) -> str:
    """`sha256-<hex>`; other digests name no blob (ValueError)."""
    if digest.algorithm != "sha256":
        raise ValueError(f"{digest} names no blob")
    return f"sha256-{digest.value}"
