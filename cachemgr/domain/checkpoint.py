"""The manifest of a published checkpoint, which says what lies under which keys: written last, read with distrust."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from cachemgr.domain.checkpoint_keys import Record, check_name
from cachemgr.domain.errors import Usage
from cachemgr.domain.names import check_relative

CHECKPOINT_VERSION = 1

Kind = Literal["directory", "file"]

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a checkpoint: its path in it, size, sha256 (hex), and the ETag that the store gave its object."""

    path: str
    size: int
    sha256: str
    etag: str | None = None

    @property
    def content(self) -> tuple[str, int, str]:
        """What a reader gets, wherever it lies."""
        return self.path, self.size, self.sha256


@dataclass(frozen=True, slots=True)
class StoredLink:
    """One symbolic link of a checkpoint, which leads to a real file or directory of the same checkpoint."""

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class CheckpointManifest:
    """One published checkpoint. `data` is where in the run its files lie: `<name>` or `<name>~<seq>`.

    A checkpoint of kind `file` has exactly one file, whose path is the checkpoint's name.
    """

    name: str
    seq: int
    step: int | None
    kind: Kind
    data: str
    published_at: str
    files: tuple[StoredFile, ...]
    links: tuple[StoredLink, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.data not in (self.name, f"{self.name}~{self.seq}"):
            raise Usage(f"checkpoint {self.name!r} keeps its files under {self.data[:80]!r}")
        if self.kind == "file" and ([file.path for file in self.files] != [self.name] or self.links):
            raise Usage(f"checkpoint {self.name!r} is one file and lists others")
        if not self.files:
            raise Usage(f"checkpoint {self.name!r} has no files")
        check_layout(self.files, self.links)

    @property
    def record(self) -> Record:
        """Its number and name."""
        return Record(self.seq, self.name)

    @property
    def bytes(self) -> int:
        """The size of all its files."""
        return sum(file.size for file in self.files)

    @property
    def content(self) -> tuple[object, ...]:
        """What a reader gets, wherever it lies: equal for two checkpoints that restore to the same."""
        return self.kind, frozenset(file.content for file in self.files), frozenset(self.links)

    def key_of(self, file: StoredFile) -> str:
        """The key of a file in the run."""
        return f"{self.data}/{file.path}"

    def to_json(self) -> dict[str, object]:
        """The document, with the seal that shows whether a bit of it changed."""
        document: dict[str, object] = {
            "version": CHECKPOINT_VERSION,
            "name": self.name,
            "seq": self.seq,
            "step": self.step,
            "kind": self.kind,
            "data": self.data,
            "published_at": self.published_at,
            "bytes": self.bytes,
            "files": [{"path": x.path, "size": x.size, "sha256": x.sha256, "etag": x.etag} for x in self.files],
            "links": [{"path": x.path, "target": x.target} for x in self.links],
        }
        return {**document, "seal": _seal(document)}

    @classmethod
    def from_json(cls, raw: Mapping[str, object]) -> CheckpointManifest:
        """Read a document, trusting nothing in it; raises Usage. Members that are not known are let be."""
        if raw.get("version") != CHECKPOINT_VERSION or isinstance(raw.get("version"), bool):
            raise Usage(f"its version {str(raw.get('version'))[:20]!r} is not known")
        if raw.get("seal") != _seal({name: value for name, value in raw.items() if name != "seal"}):
            raise Usage("its seal is broken: it was changed, or damaged, after it was published")
        published_at = _text(raw, "published_at")
        if not _TIME.fullmatch(published_at):
            raise Usage("it does not say when it was published")
        manifest = cls(
            name=_text(raw, "name"),
            seq=_number(raw, "seq", at_least=1),
            step=None if raw.get("step") is None else _number(raw, "step"),
            kind=_kind(raw),
            data=_text(raw, "data"),
            published_at=published_at,
            files=tuple(_file(item) for item in _objects(raw, "files")),
            links=tuple(StoredLink(_text(item, "path"), _text(item, "target")) for item in _objects(raw, "links")),
        )
        if raw.get("bytes") != manifest.bytes:
            raise Usage("its files do not add up to its bytes")
        return manifest


def encode_manifest(manifest: CheckpointManifest) -> bytes:
    """The document as bytes, readable by people."""
    return json.dumps(manifest.to_json(), indent=1, ensure_ascii=False).encode() + b"\n"


def decode_manifest(data: bytes) -> CheckpointManifest:
    """Read a document, trusting nothing in it; raises Usage that says what is wrong with it."""
    try:
        raw = json.loads(data, object_pairs_hook=_no_twins)
    except (ValueError, RecursionError) as error:
        raise Usage(f"it is not JSON ({type(error).__name__})") from None
    if not isinstance(raw, dict):
        raise Usage("it is not a JSON object")
    return CheckpointManifest.from_json(raw)


def check_layout(files: Iterable[StoredFile], links: Iterable[StoredLink]) -> None:
    """Return if these can be laid out below one directory without anything leading, or lying, outside it.

    A link may only lead to a real file or directory of the same checkpoint, and never through another link: then
    what it leads to is what its text says. Raises Usage.
    """
    real = [check_relative(file.path) for file in files]
    linked = {check_relative(link.path): link.target for link in links}
    directories = {parent for path in (*real, *linked) for parent in _parents(path)}
    every = [*real, *(link.path for link in links)]
    if len(set(every)) != len(every):
        raise Usage("it lists a path twice")
    both = directories.intersection(every)
    if both:
        raise Usage(f"it lists something below {min(both)[:80]!r}, which is no directory")
    for path, target in linked.items():
        if _leads_to(path, target) not in directories.union(real):
            raise Usage(f"its link {path[:80]!r} does not lead to a file or directory of the same checkpoint")


def _leads_to(path: str, target: str) -> str | None:
    parts = target.split("/")
    up = next((n for n, part in enumerate(parts) if part != ".."), len(parts))
    above = path.split("/")[:-1]
    # Upwards only at its beginning, where every step is a real directory; later it could step out of a linked one.
    if up > len(above) or any(part in ("", ".", "..") for part in parts[up:]):
        return None
    return "/".join(above[: len(above) - up] + parts[up:]) or None


def _parents(path: str) -> Iterable[str]:
    parts = path.split("/")
    return ("/".join(parts[:n]) for n in range(1, len(parts)))


def _file(raw: Mapping[str, object]) -> StoredFile:
    sha256, etag = _text(raw, "sha256"), raw.get("etag")
    if not _SHA256.fullmatch(sha256):
        raise Usage("a file in it has no sha256")
    if etag is not None and not isinstance(etag, str):
        raise Usage("a file in it has no valid ETag")
    return StoredFile(_text(raw, "path"), _number(raw, "size"), sha256, etag)


def _text(raw: Mapping[str, object], name: str) -> str:
    value = raw.get(name)
    if not isinstance(value, str):
        raise Usage(f"its {name!r} is missing or no text")
    return value


def _kind(raw: Mapping[str, object]) -> Kind:
    value = _text(raw, "kind")
    if value == "directory":
        return "directory"
    if value == "file":
        return "file"
    raise Usage(f"its kind {value[:20]!r} is not known")


def _number(raw: Mapping[str, object], name: str, at_least: int = 0) -> int:
    value = raw.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not at_least <= value < 1 << 63:
        raise Usage(f"its {name!r} is missing or no number that makes sense")
    return value


def _objects(raw: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    value = raw.get(name)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Usage(f"its {name!r} is missing or no list")
    return value


def _no_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member occurs twice")
    return found


def _seal(document: Mapping[str, object]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
