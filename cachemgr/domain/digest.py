"""Digests: how bytes are named, and how far each name can be trusted."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal

from cachemgr.domain.errors import Usage

Algorithm = Literal["sha256", "git-sha1", "etag"]

_HEX = {"sha256": re.compile(r"[0-9a-f]{64}"), "git-sha1": re.compile(r"[0-9a-f]{40}")}


@dataclass(frozen=True, slots=True)
class Digest:
    """`sha256:hex` (ours, or a large file's at the Hub), `git-sha1:hex` (a small file's at the Hub) or `etag:...`."""

    algorithm: Algorithm
    value: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `algorithm:value`; raises Usage."""
        algorithm, _, value = text.partition(":")
        if algorithm == "etag" and value:
            return cls("etag", value)
        if algorithm == "sha256" and _HEX["sha256"].fullmatch(value):
            return cls("sha256", value)
        if algorithm == "git-sha1" and _HEX["git-sha1"].fullmatch(value):
            return cls("git-sha1", value)
        raise Usage(f"not a digest: {text[:80]!r}")

    @classmethod
    def sha256(cls, value: str) -> Digest:
        """The digest of these 64 hex digits; raises Usage."""
        return cls.parse(f"sha256:{value}")

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What bytes turned out to be once they passed by: their count and digests (hex)."""

    size: int
    sha256: str
    git_sha1: str | None = None

    def differs_from(self, size: int, digest: Digest) -> str | None:
        """One sentence on how these bytes differ from what was promised, or None if they do not."""
        if self.size != size:
            return f"{self.size} bytes where {size} were promised"
        found = {"sha256": self.sha256, "git-sha1": self.git_sha1, "etag": digest.value}[digest.algorithm]
        if found is None:
            return f"no {digest.algorithm} was computed"
        return None if found == digest.value else f"{digest.algorithm} is {found}, not {digest.value}"


def git_blob_hash(size: int) -> hashlib._Hash:
    """A sha1 that already saw git's blob header: feed it `size` bytes and it is their git-sha1."""
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
