"""What a model's directory must look like, byte for byte."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from tests.services.hub.repos import HubFile
from tests.services.hub.server import Hub


def assert_same(hub: Hub, repo: str, directory: Path) -> None:
    """Every file of the repository's main revision is there with the bytes that the hub serves, and nothing else."""
    wanted = {path: file.content for path, file in _head(hub, repo).items()}
    found = {str(path.relative_to(directory)): path for path in directory.rglob("*") if path.is_file()}
    assert found.keys() == wanted.keys()
    for path, content in wanted.items():
        data = found[path].read_bytes()
        assert hashlib.sha256(data).hexdigest() == content.sha256, path


def quarantined(tier: Path) -> list[Path]:
    """What lies in a tier's quarantine."""
    return [path for path in (tier / ".cachemgr" / "quarantine").rglob("*") if path.is_file()]


def seals(tier: Path) -> set[str]:
    """The ids of the sealed snapshots of a tier."""
    return {path.stem for path in (tier / ".cachemgr" / "manifests").glob("*.json")}


def _head(hub: Hub, repo: str) -> Mapping[str, HubFile]:
    commit = hub.repos.get(repo).find("main")
    assert commit is not None
    return commit.files
