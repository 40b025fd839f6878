"""Refs: what a caller names. A ref may move; the revision behind it does not."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import unquote

from cachemgr.domain.errors import Usage
from cachemgr.domain.names import check_relative, escape

_REPO_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_REVISION = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._/-]{0,253}[A-Za-z0-9_.-])?")
_PULL_REQUEST = re.compile(r"(refs/(?:pr|convert)/[A-Za-z0-9_.-]+)(?:/(.*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Ref:
    """`hf://org/name[@revision][/path]`; without a revision it is `main`, with a path only that file or folder."""

    scheme: str
    name: str
    revision: str
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Read what a caller typed; raises Usage that says what is wrong with it."""
        scheme, separator, rest = text.partition("://")
        if not separator:
            raise Usage(f"{text[:120]!r} is not a ref", hint="write hf://org/name or hf://org/name@revision")
        if scheme != "hf":
            raise Usage(f"refs of kind {scheme[:20]!r} are not supported", hint="write hf://org/name[@revision]")
        return cls._hub(text, rest)

    @classmethod
    def _hub(cls, text: str, rest: str) -> Ref:
        before, at, after = rest.partition("@")
        if at:
            name, (revision, path) = before, _split_revision(after)
        else:
            parts = before.split("/", 2)
            name, revision, path = "/".join(parts[:2]), "main", parts[2] if len(parts) > 2 else None
        if name.count("/") > 1 or not all(_good_repo_part(part) for part in name.split("/")):
            raise Usage(f"{text[:120]!r} names no repository", hint="write hf://org/name[@revision][/path]")
        return cls("hf", name, _good_revision(revision, text), check_relative(path) if path else None)

    def at(self, revision: str) -> Ref:
        """The same artifact at another revision; raises Usage."""
        return replace(self, revision=_good_revision(revision, str(self)))

    @property
    def whole(self) -> Ref:
        """The same artifact and revision without the path."""
        return replace(self, path=None)

    @property
    def fixed(self) -> bool:
        """True if the revision is a full commit, which cannot move."""
        return _COMMIT.fullmatch(self.revision) is not None

    @property
    def key(self) -> str:
        """One file name for the ref without its path."""
        return f"{self.scheme}--{escape(self.name)}--{escape(self.revision)}"

    def __str__(self) -> str:
        tail = f"/{self.path}" if self.path else ""
        return f"{self.scheme}://{self.name}@{self.revision}{tail}"


def _split_revision(after: str) -> tuple[str, str | None]:
    special = _PULL_REQUEST.fullmatch(after)
    if special:
        return special[1], special[2] or None
    revision, slash, path = after.partition("/")
    return unquote(revision), path if slash else None


def _good_repo_part(part: str) -> bool:
    return _REPO_PART.fullmatch(part) is not None and "--" not in part and ".." not in part


def _good_revision(revision: str, text: str) -> str:
    if not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision:
        raise Usage(f"{text[:120]!r} has no valid revision", hint="a branch, a tag or a commit of 40 hex digits")
    return revision
