"""The bytes of a hub's files, moved by the real data plane: right, authorized where they must be and nowhere else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachemgr.domain.digest import Seen
from cachemgr.domain.errors import NotFound, Unauthorized
from cachemgr.domain.manifest import Manifest
from cachemgr.domain.ref import Ref
from cachemgr.moving.plane import DataPlane
from cachemgr.moving.target import Target
from cachemgr.origins.hub import HubOrigin
from tests.origins.conftest import MakeOrigin
from tests.services.hub.content import Generated
from tests.services.hub.faults import Fault
from tests.services.hub.models import model_m20
from tests.services.hub.server import Hub

REF = Ref.parse("hf://acme/m")


@pytest.fixture
def plane() -> Iterator[DataPlane]:
    plane = DataPlane()
    yield plane
    plane.close()


def _create(path: Path) -> None:
    path.touch()


async def fetched(plane: DataPlane, origin: HubOrigin, manifest: Manifest, path: str, into: Path) -> Seen:
    """Bring one file to `into`."""
    entry = next(entry for entry in manifest.files if entry.path == path)
    _create(into)
    git = entry.digest.algorithm == "git-sha1"
    remote = origin.remote(manifest, entry)
    return await plane.fetch(remote, [Target(into, local=True)], git_sha1=git, progress=lambda _: None)


async def test_every_file_arrives_as_the_manifest_says(
    hub: Hub, make_origin: MakeOrigin, plane: DataPlane, tmp_path: Path
) -> None:
    hub.add_repo("acme/m", {**model_m20(scale=0.002), "odd name %41#?.txt": b"odd"}, private=True)
    hub.options.redirect_small = True
    origin = make_origin(hub.token)
    manifest = await origin.resolve(REF)
    for entry in manifest.files:
        seen = await fetched(plane, origin, manifest, entry.path, tmp_path / "file")
        assert seen.differs_from(entry.size, entry.digest) is None
        assert hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest() == seen.sha256
        (tmp_path / "file").unlink()
    bodies = hub.requests(file="*")
    assert all(asked.agent == "cachemgr/0.1.0" for asked in bodies)
    assert all(asked.authorized == (asked.origin == "hub") for asked in bodies), "the token stays at the hub"
    assert {asked.status for asked in bodies if asked.origin == "cdn"} <= {200, 206}


async def test_a_refused_link_is_not_shown_with_its_signature(
    hub: Hub, origin: HubOrigin, plane: DataPlane, tmp_path: Path
) -> None:
    hub.add_repo("acme/m", {"a.bin": b"0123456789"})
    manifest = await origin.resolve(REF)
    hub.fault(Fault("expired", "acme/m/a.bin", origin="hub"))
    with pytest.raises(Unauthorized, match="answers 403") as caught:
        await fetched(plane, origin, manifest, "a.bin", tmp_path / "file")
    assert "Signature" not in str(caught.value)
    assert (await fetched(plane, origin, manifest, "a.bin", tmp_path / "file")).size == 10


async def test_links_that_expire_between_two_ranges_are_asked_for_again(
    hub: Hub, origin: HubOrigin, tmp_path: Path
) -> None:
    hub.add_repo("acme/m", {"a.bin": Generated(40 << 20, 1)})
    manifest = await origin.resolve(REF)
    hub.fault(Fault("then", "acme/m/a.bin", origin="cdn", skip=2, action=hub.signer.expire))
    plane = DataPlane(connections=1, window_bytes=16 << 20, one_request_bytes=1 << 20)
    try:
        seen = await fetched(plane, origin, manifest, "a.bin", tmp_path / "file")
    finally:
        plane.close()
    assert seen.differs_from(40 << 20, manifest.files[0].digest) is None
    statuses = [asked.status for asked in hub.requests(origin="cdn")]
    assert 403 in statuses
    assert 1 < len(hub.requests(origin="hub", file="acme/m/a.bin")) < len(statuses)


async def test_access_that_was_taken_away_meanwhile(
    hub: Hub, make_origin: MakeOrigin, plane: DataPlane, tmp_path: Path
) -> None:
    hub.add_repo("acme/m", {"a.txt": b"1"}, gated=True)
    origin = make_origin(hub.token)
    manifest = await origin.resolve(REF)
    hub.grant(hub.token, "reader")
    with pytest.raises(Unauthorized) as caught:
        await fetched(plane, origin, manifest, "a.txt", tmp_path / "file")
    assert hub.token not in str(caught.value)


async def test_a_file_that_was_taken_away_meanwhile(
    hub: Hub, origin: HubOrigin, plane: DataPlane, tmp_path: Path
) -> None:
    hub.add_repo("acme/m", {"a.txt": b"1"})
    manifest = await origin.resolve(REF)
    hub.add_repo("acme/m", {"b.txt": b"1"})
    with pytest.raises(NotFound):
        await fetched(plane, origin, manifest, "a.txt", tmp_path / "file")
