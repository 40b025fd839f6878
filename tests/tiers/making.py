"""Models for tests of a tier: bytes, what they are called, and how they get there."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from cachemgr.domain.digest import Digest, Seen, git_blob_hash
from cachemgr.domain.manifest import Entry, Manifest
from cachemgr.domain.ref import Ref
from cachemgr.tiers.blobs import Part
from cachemgr.tiers.directory import DirectoryTier

COMMIT = "a" * 40
OTHER = "b" * 40
MAIN = Ref.parse("hf://acme/small")
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": b"\x08\0\0\0\0\0\0\0{}      " + bytes(range(256)) * 64,
    "original/params.json": b"{}",
    "original/deep/tokenizer.model": b"tokens",
}
LARGE = frozenset({"model.safetensors", "original/deep/tokenizer.model"})


def sha256(data: bytes) -> Digest:
    return Digest.sha256(hashlib.sha256(data).hexdigest())


def git_sha1(data: bytes) -> str:
    digest = git_blob_hash(len(data))
    digest.update(data)
    return digest.hexdigest()


def seen(data: bytes) -> Seen:
    return Seen(len(data), sha256(data).value, git_sha1(data))


def etag(path: str, data: bytes) -> str:
    return sha256(data).value if path in LARGE else git_sha1(data)


def manifest(
    files: Mapping[str, bytes] = FILES,
    revision: str = COMMIT,
    name: str = "acme/small",
    have: frozenset[str] | None = None,
) -> Manifest:
    """What a pull would seal: sha256 for all that is here."""
    entries = tuple(
        Entry(
            path,
            len(data),
            sha256(data) if have is None or path in have else Digest("git-sha1", git_sha1(data)),
            etag(path, data),
        )
        for path, data in files.items()
    )
    return Manifest("hf", name, revision, entries, have)


@asynccontextmanager
async def filled(tier: DirectoryTier, data: bytes, key: str | None = None) -> AsyncIterator[Part]:
    """A part that holds these bytes, as the data plane would leave it."""
    async with tier.blobs.part(key or sha256(data).value, len(data)) as part:
        part.target.path.write_bytes(data)
        part.record(len(data))
        yield part


async def store(tier: DirectoryTier, *contents: bytes) -> None:
    """Make each of these a blob."""
    for data in contents:
        async with filled(tier, data) as part:
            await part.publish(Entry("file", len(data), sha256(data)), seen(data))


async def publish(
    tier: DirectoryTier, made: Manifest, files: Mapping[str, bytes] = FILES, ref: Ref | None = MAIN
) -> None:
    """Everything that a pull does on a tier."""
    await store(tier, *(files[entry.path] for entry in made.entries))
    await tier.snapshots.publish(made, ref)


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, by its path."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }
