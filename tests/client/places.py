"""Tiers as they lie on disk, written by a test from the domain's own words."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from cachemgr.domain.digest import Digest
from cachemgr.domain.manifest import Entry, Manifest
from cachemgr.domain.ref import Ref

COMMIT = "a" * 40
OTHER = "b" * 40
FILES = ("config.json", "model.safetensors", "sub/tokenizer.json")


def manifest(ref: Ref, commit: str = COMMIT, have: frozenset[str] | None = None) -> Manifest:
    """Some small revision of a repository."""
    files = tuple(Entry(path, 2, Digest.sha256("0" * 64)) for path in FILES)
    return Manifest(ref.scheme, ref.name, commit, files, have)


@dataclass(frozen=True)
class Place:
    """One tier's directory."""

    name: str
    root: Path
    holds: str
    hub: Path

    @classmethod
    def make(cls, name: str, root: Path, holds: str, hub: Path | None = None) -> Place:
        place = cls(name, root, holds, hub or root / "huggingface-cache" / "hub")
        for kind in ("manifests", "refs", "holds", "used"):
            place.own(kind).mkdir(parents=True)
        return place

    def own(self, kind: str, name: str = "") -> Path:
        return self.root / ".cachemgr" / kind / name

    def entry(self) -> dict[str, object]:
        """How the daemon lists this tier for readers."""
        hub, local = str(self.hub), self.name == "disk"
        return {"name": self.name, "root": str(self.root), "hub": hub, "local": local, "holds": self.holds}

    def directory(self, ref: Ref, commit: str = COMMIT) -> Path:
        return self.hub / f"models--{ref.name.replace('/', '--')}" / "snapshots" / commit

    def lay_out(self, ref: Ref, commit: str = COMMIT) -> Path:
        """The files, but no seal."""
        directory = self.directory(ref, commit)
        for path in FILES:
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text("{}")
        return directory

    def seal(self, ref: Ref, commit: str = COMMIT, have: frozenset[str] | None = None) -> Path:
        """A complete snapshot: files, seal, and what the ref was resolved to."""
        directory = self.lay_out(ref, commit)
        sealed = manifest(ref, commit, have)
        scratch = self.own("manifests", "scratch")
        scratch.write_text(json.dumps(sealed.to_json()))
        scratch.rename(self.own("manifests", f"{sealed.id}.json"))
        self.remember(ref, commit)
        return directory

    def remember(self, ref: Ref, commit: str) -> None:
        """What the ref was resolved to, and nothing else."""
        inside = os.path.relpath(self.directory(ref, commit), self.root)
        record = {"ref": str(ref), "revision": commit, "id": manifest(ref, commit).id, "path": inside}
        self.own("refs", f"{ref.whole.key}.json").write_text(json.dumps({**record, "resolved_at": 1.0}))
