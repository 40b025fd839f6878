"""`path`: a hit asks nobody, and only what is sealed is a hit."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachemgr import client
from cachemgr.domain.ref import Ref
from cachemgr.library.answers import Answer
from tests.client.places import COMMIT, OTHER, Place, manifest
from tests.client.stand_in import World, write_client_json

REF = Ref.parse("hf://acme/m20@main")


@pytest.mark.usefixtures("known")
def test_a_hit_needs_no_daemon(disk: Place) -> None:
    directory = disk.seal(REF)
    found = client.path("hf://acme/m20")
    assert found == str(directory)
    assert (found.tier, found.revision, found.id) == ("disk", COMMIT, manifest(REF).id)


@pytest.mark.usefixtures("known")
def test_what_is_found_is_a_path_for_everyone(disk: Place) -> None:
    disk.seal(REF)
    found = client.path(str(REF))
    assert isinstance(found, os.PathLike)
    assert (Path(found) / "config.json").read_text() == "{}"
    assert os.listdir(found)
    again = pickle.loads(pickle.dumps(found))
    assert (again, again.tier, again.id) == (found, "disk", found.id)


@pytest.mark.usefixtures("known")
async def test_the_async_twin_answers_the_same(disk: Place) -> None:
    disk.seal(REF)
    assert await client.apath(str(REF)) == client.path(str(REF))


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("before", [True, False], ids=["used before", "never used"])
def test_a_hit_counts_as_a_use(disk: Place, before: bool) -> None:
    disk.seal(REF)
    used = disk.own("used", manifest(REF).id)
    if before:
        used.touch()
        os.utime(used, (1, 1))
    client.path(str(REF))
    assert time.time() - used.stat().st_mtime < 60


@pytest.mark.usefixtures("known")
def test_a_tier_that_counts_no_uses_still_answers(disk: Place) -> None:
    directory = disk.seal(REF)
    disk.own("used").rmdir()
    assert client.path(str(REF)) == str(directory)


@pytest.mark.usefixtures("known")
def test_the_fastest_tier_comes_first_and_any_can_be_named(disk: Place, volume: Place) -> None:
    volume.seal(REF)
    assert client.path(str(REF)).tier == "volume"
    disk.seal(REF)
    assert client.path(str(REF)).tier == "disk"
    assert client.path(str(REF), tier="volume") == str(volume.directory(REF))


@pytest.mark.usefixtures("known")
def test_what_moved_is_answered_from_the_tier_that_has_it(disk: Place, volume: Place) -> None:
    disk.seal(REF)
    volume.seal(REF, OTHER)
    disk.remember(REF, OTHER)  # resolved anew and pulled to the volume, not promoted yet
    found = client.path(str(REF))
    assert (found.tier, found.revision) == ("volume", OTHER)


@pytest.mark.usefixtures("known")
def test_a_directory_without_a_seal_is_no_hit(disk: Place) -> None:
    disk.lay_out(REF)
    disk.remember(REF, COMMIT)
    with pytest.raises(client.DaemonAway):
        client.path(str(REF))


@pytest.mark.usefixtures("known")
def test_a_seal_without_its_directory_is_no_hit(disk: Place) -> None:
    directory = disk.seal(REF)
    directory.rename(directory.with_name("gone"))
    with pytest.raises(client.DaemonAway):
        client.path(str(REF))


@pytest.mark.usefixtures("known")
def test_part_of_a_revision_is_a_hit_for_that_part_only(disk: Place) -> None:
    directory = disk.seal(REF, have=frozenset({"config.json", "sub/tokenizer.json"}))
    assert client.path(f"{REF}/config.json") == str(directory / "config.json")
    assert client.path(f"{REF}/sub") == str(directory / "sub")
    for missing in (str(REF), f"{REF}/model.safetensors", f"{REF}/conf", f"{REF}/../../../x"):
        with pytest.raises(client.DaemonAway):
            client.path(missing)


@pytest.mark.usefixtures("known")
def test_a_seal_that_was_widened_is_read_again(disk: Place) -> None:
    disk.seal(REF, have=frozenset({"config.json"}))
    with pytest.raises(client.DaemonAway):
        client.path(str(REF))
    disk.seal(REF)
    assert client.path(str(REF)).tier == "disk"


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    "record",
    ["", "[]", "{", '{"id": "../../x", "path": "x", "revision": "x"}', '{"id": 5}', "\x00"],
)
def test_a_damaged_note_is_no_hit(disk: Place, record: str) -> None:
    disk.seal(REF)
    disk.own("refs", f"{REF.key}.json").write_text(record)
    with pytest.raises(client.DaemonAway):
        client.path(str(REF))


def test_a_tier_may_keep_its_hub_directory_elsewhere(socket: Path, tmp_path: Path) -> None:
    place = Place.make("disk", tmp_path / "root", "flock", hub=tmp_path / "elsewhere" / "hub")
    write_client_json(socket, [place.entry()])
    directory = place.seal(REF)
    assert client.path(str(REF)) == str(directory)


def test_a_layout_that_this_client_does_not_know_is_left_to_the_daemon(socket: Path, disk: Place) -> None:
    disk.seal(REF)
    (socket.parent / "client.json").write_text('{"version": 2, "tiers": "all of them"}')
    with pytest.raises(client.DaemonAway):
        client.path(str(REF))


def test_a_miss_asks_the_daemon_and_does_not_wait(world: World, volume: Place) -> None:
    with pytest.raises(client.NotFound) as caught:
        client.path(str(REF))
    assert caught.value.hint == f"`cachemgr pull {REF}` brings it"
    world.answers[str(REF)] = Answer(str(REF), "id", COMMIT, "/somewhere", "volume", None, None, None, False)
    assert client.path(str(REF)) == "/somewhere"
    assert world.calls("acquire") == [(str(REF), 0.0, 0.0, "any")] * 2
    assert world.holds == set()


def test_what_is_no_ref_is_said_at_once() -> None:
    with pytest.raises(client.Usage):
        client.path("acme/m20")


@pytest.mark.usefixtures("known")
def test_a_hit_takes_a_tenth_of_a_millisecond(disk: Place, volume: Place) -> None:
    disk.seal(REF)
    volume.seal(REF)
    seconds = []
    for _ in range(300):
        began = time.perf_counter()
        client.path(str(REF))
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 100e-6


NAMES = st.from_regex(r"[A-Za-z0-9](?:[A-Za-z0-9._]{0,10}[A-Za-z0-9_])?", fullmatch=True)
REVISIONS = st.one_of(
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,10}", fullmatch=True),
    st.sampled_from(["refs/pr/12", "refs/convert/parquet", "feature%2Fx", "a--b", COMMIT]),
)
BELOW = st.sampled_from(["", "/config.json", "/sub", "/sub/tokenizer.json"])


@pytest.mark.usefixtures("known")
@given(org=NAMES, name=NAMES, revision=st.none() | REVISIONS, below=BELOW)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_every_ref_is_found_under_the_name_that_the_tiers_give_it(
    disk: Place, org: str, name: str, revision: str | None, below: str
) -> None:
    text = f"hf://{org}/{name}" + (f"@{revision}" if revision else "") + below
    try:
        ref = Ref.parse(text)
    except Exception:  # noqa: BLE001 - not a ref: the daemon will say so
        return
    directory = disk.seal(ref)
    assert client.path(text) == str(directory / below.lstrip("/")).rstrip("/")
