"""Manifests: the sealed list of what one revision consists of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from cachemgr.domain.digest import Digest
from cachemgr.domain.errors import Usage
from cachemgr.domain.names import check_relative, escape
from cachemgr.domain.ref import Ref

MANIFEST_VERSION = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its path below the snapshot, its size in bytes, its digest, and the origin's name for its bytes.

    `digest` is the origin's word until the bytes were seen and sha256 afterwards; `etag` stays what the origin said.
    """

    path: str
    size: int
    digest: Digest
    etag: str | None = None

    def to_json(self) -> dict[str, object]:
        """`{path, size, digest, etag}`."""
        return {"path": self.path, "size": self.size, "digest": str(self.digest), "etag": self.etag}

    @classmethod
    def from_json(cls, raw: Mapping[str, object]) -> Entry:
        """Read one entry, trusting nothing; raises Usage."""
        path, size, digest, etag = raw.get("path"), raw.get("size"), raw.get("digest"), raw.get("etag")
        if not isinstance(path, str) or not isinstance(digest, str):
            raise Usage("a manifest entry lacks its path or digest")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise Usage(f"{path[:80]!r} has no valid size")
        if etag is not None and not isinstance(etag, str):
            raise Usage(f"{path[:80]!r} has no valid etag")
        return cls(check_relative(path), size, Digest.parse(digest), etag)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One revision of one artifact: all its files, and which of them are here (`have`; None means all)."""

    scheme: str
    name: str
    revision: str
    files: tuple[Entry, ...]
    have: frozenset[str] | None = None

    def __post_init__(self) -> None:
        paths = {entry.path for entry in self.files}
        if len(paths) != len(self.files):
            raise Usage(f"{self.id} lists a file twice")
        for path in paths:
            parents = path.split("/")[:-1]
            if any("/".join(parents[: n + 1]) in paths for n in range(len(parents))):
                raise Usage(f"{self.id} lists {path[:80]!r} below a name that is a file")
        if self.have is not None and not self.have <= paths:
            raise Usage(f"{self.id} claims to have files that it does not list")

    @property
    def id(self) -> str:
        """The one name of this snapshot everywhere: `hf--org--name--<commit>`."""
        return snapshot_id(self.scheme, self.name, self.revision)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The files that are (to be) here."""
        return self.files if self.have is None else tuple(entry for entry in self.files if entry.path in self.have)

    @property
    def bytes(self) -> int:
        """The size of what is (to be) here."""
        return sum(entry.size for entry in self.entries)

    @property
    def ref(self) -> Ref:
        """The ref that names exactly this revision."""
        return Ref(self.scheme, self.name, self.revision)

    def covers(self, wanted: Manifest) -> bool:
        """True if every file that `wanted` wants is here."""
        return {entry.path for entry in wanted.entries} <= {entry.path for entry in self.entries}

    def select(self, include: Sequence[str], exclude: Sequence[str]) -> Manifest:
        """This revision narrowed by shell patterns, as `hf download` reads them (`dir/` means `dir/*`).

        Raises Usage if nothing is left.
        """
        if not include and not exclude:
            return self
        keep = frozenset(entry.path for entry in self.entries if _wanted(entry.path, include, exclude))
        if not keep:
            raise Usage(f"no file of {self.ref} matches", hint="check --include and --exclude")
        return replace(self, have=None if len(keep) == len(self.files) else keep)

    def sealed(self, seen: Mapping[str, Digest]) -> Manifest:
        """The same manifest with the sha256 that we computed for each path in `seen`."""
        files = tuple(replace(e, digest=seen[e.path]) if e.path in seen else e for e in self.files)
        return replace(self, files=files)

    def widened(self, more: Iterable[str]) -> Manifest:
        """The same manifest that also has these paths."""
        if self.have is None:
            return self
        have = self.have | frozenset(more)
        return replace(self, have=None if len(have) == len(self.files) else have)

    def to_json(self) -> dict[str, object]:
        """`{version, id, scheme, name, revision, files, have}`."""
        return {
            "version": MANIFEST_VERSION,
            "id": self.id,
            "scheme": self.scheme,
            "name": self.name,
            "revision": self.revision,
            "files": [entry.to_json() for entry in self.files],
            "have": None if self.have is None else sorted(self.have),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, object]) -> Manifest:
        """Read a manifest, trusting nothing; raises Usage."""
        if raw.get("version") != MANIFEST_VERSION:
            raise Usage(f"manifest version {raw.get('version')!r} is not known")
        files, have = raw.get("files"), raw.get("have")
        if not isinstance(files, list) or not all(isinstance(item, dict) for item in files):
            raise Usage("a manifest lacks its list of files")
        if have is not None and not (isinstance(have, list) and all(isinstance(path, str) for path in have)):
            raise Usage("a manifest has no valid list of what it has")
        ref = Ref.parse(f"{raw.get('scheme')}://{raw.get('name')}@{raw.get('revision')}")
        entries = tuple(Entry.from_json(item) for item in files)
        manifest = cls(ref.scheme, ref.name, ref.revision, entries, None if have is None else frozenset(have))
        if raw.get("id") != manifest.id:
            raise Usage(f"manifest {manifest.id} calls itself {str(raw.get('id'))[:80]!r}")
        return manifest


def snapshot_id(scheme: str, name: str, revision: str) -> str:
    """`hf--org--name--<commit>`: injective, one file name, `--` between escaped parts."""
    return "--".join([scheme, *(escape(part) for part in name.split("/")), escape(revision)])


def _wanted(path: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    kept = not include or any(_matches(path, pattern) for pattern in include)
    return kept and not any(_matches(path, pattern) for pattern in exclude)


def _matches(path: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern + "*" if pattern.endswith("/") else pattern)
