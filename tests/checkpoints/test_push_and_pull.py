"""What training wrote goes to a bucket and comes back bit for bit, however often, from either server."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from cachemgr.bucket.bucket import Bucket
from cachemgr.checkpoints.answers import Listed, Published, Restored
from cachemgr.domain.errors import NotFound, Usage
from tests.checkpoints.runs import Run, same, write_checkpoint
from tests.services.stores import Told, uploads

pytestmark = pytest.mark.integration

MIB = 1 << 20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "train" / "checkpoint-500")


async def test_a_directory_comes_back_as_it_was(run: Run, source: Path, tmp_path: Path) -> None:
    os.symlink("rng/state 0 é.bin", source / "rng.bin")
    os.symlink("../config.json", source / "rng" / "config.json")
    pushing, pulling = Told(), Told()
    published = await run.push(source, told=pushing)
    restored = await run.pull(tmp_path / "back", told=pulling)
    assert same(source, tmp_path / "back" / "checkpoint-500")
    assert restored.path == str(tmp_path / "back" / "checkpoint-500")
    assert os.listdir(tmp_path / "back") == ["checkpoint-500"]
    assert (published.seq, published.step, published.data) == (1, 500, "checkpoint-500")
    assert published.sent_bytes == restored.fetched_bytes == published.bytes == restored.bytes
    for told in (pushing, pulling):
        assert told.done_bytes == told.total_bytes == published.bytes
        assert told.files_done == told.files == published.files
    assert await uploads(run.bucket) == 0


async def test_a_single_file_comes_back_as_a_file(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "last.ckpt"
    source.write_bytes(os.urandom(17 * MIB))
    published = await run.push(source)
    restored = await run.pull(tmp_path / "back")
    assert (tmp_path / "back" / "last.ckpt").read_bytes() == source.read_bytes()
    assert os.listdir(tmp_path / "back") == ["last.ckpt"]
    assert (published.name, published.files, restored.files, published.step) == ("last.ckpt", 1, 1, None)


async def test_files_lie_in_the_bucket_under_plain_keys(run: Run, source: Path) -> None:
    await run.push(source)
    assert await run.bucket.get("run/checkpoint-500/config.json", MIB) == (source / "config.json").read_bytes()
    keys = [found.key for found in await run.bucket.listed("run/.cachemgr/")]
    assert keys == ["run/.cachemgr/checkpoints/1-checkpoint-500.json", "run/.cachemgr/latest.json"]
    latest = json.loads(await run.bucket.get("run/.cachemgr/latest.json", MIB))
    assert latest["manifest"] == ".cachemgr/checkpoints/1-checkpoint-500.json"


async def test_a_bucket_without_a_prefix_is_a_place_too(run: Run, source: Path, tmp_path: Path) -> None:
    place = run.bucket.where()
    await run.rooms.checkpoints.push(str(source), place, None)(Told())
    await run.rooms.checkpoints.pull(place, str(tmp_path / "back"), None)(Told())
    assert same(source, tmp_path / "back" / "checkpoint-500")
    assert await run.bucket.find("checkpoint-500/config.json") is not None


async def test_many_small_files(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "checkpoint-1"
    for number in range(500):
        path = source / f"shard {number % 7}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number * 50))
    await run.push(source)
    await run.pull(tmp_path / "back")
    assert same(source, tmp_path / "back" / "checkpoint-1")


async def test_empty_files_and_old_times_are_no_trouble(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "checkpoint-1"
    source.mkdir()
    (source / "empty").touch()
    os.utime(source / "empty", (0, 0))
    await run.push(source)
    await run.pull(tmp_path / "back")
    assert same(source, tmp_path / "back" / "checkpoint-1")


async def test_new_content_under_a_published_name_goes_elsewhere(run: Run, source: Path, tmp_path: Path) -> None:
    await run.push(source)
    before = {found.key: found.etag for found in await run.bucket.listed("run/checkpoint-500/")}
    (source / "model.safetensors").write_bytes(os.urandom(100))
    (source / "new").write_text("new")
    second = await run.push(source)
    assert (second.seq, second.data, second.name) == (2, "checkpoint-500~2", "checkpoint-500")
    assert {found.key: found.etag for found in await run.bucket.listed("run/checkpoint-500/")} == before
    await run.pull(tmp_path / "back")
    assert same(source, tmp_path / "back" / "checkpoint-500")


async def test_unchanged_files_are_copied_by_the_store(run: Run, source: Path, tmp_path: Path) -> None:
    first = await run.push(source)
    sent_before = run.sent_bytes()
    (source / "config.json").write_text("changed")
    told = Told()
    second = await run.push(source, told=told)
    assert second.sent_bytes == len("changed") == run.sent_bytes() - sent_before
    assert second.copied_bytes == second.bytes - second.sent_bytes > 0.9 * first.bytes
    assert told.done_bytes == told.total_bytes
    renamed = source.with_name("checkpoint-600")
    os.rename(source, renamed)
    third = await run.push(renamed)
    assert (third.seq, third.sent_bytes, third.data) == (3, 0, "checkpoint-600")
    await run.pull(tmp_path / "back")
    assert same(renamed, tmp_path / "back" / "checkpoint-600")


async def test_the_same_push_again_publishes_nothing(run: Run, source: Path) -> None:
    first = await run.push(source)
    keys = {found.key for found in await run.bucket.listed("")}
    told = Told()
    again = await run.push(source, told=told)
    assert (again.unchanged, again.seq, again.sent_bytes) == (True, first.seq, 0)
    assert {found.key for found in await run.bucket.listed("")} == keys
    assert (told.done_bytes, told.files_done) == (told.total_bytes, told.files)


async def test_what_was_damaged_in_the_bucket_is_sent_again(run: Run, source: Path, tmp_path: Path) -> None:
    await run.push(source)
    await run.bucket.put("run/checkpoint-500/config.json", b"damaged")
    await run.bucket.delete("run/checkpoint-500/model.safetensors")
    again = await run.push(source)
    assert (again.unchanged, again.seq) == (False, 2)
    await run.pull(tmp_path / "back")
    assert same(source, tmp_path / "back" / "checkpoint-500")


async def test_an_older_checkpoint_pushed_again_becomes_the_latest(run: Run, source: Path, tmp_path: Path) -> None:
    await run.push(source)
    await run.push(write_checkpoint(tmp_path / "checkpoint-600"))
    third = await run.push(source)
    assert (third.seq, third.unchanged, third.sent_bytes) == (3, False, 0)
    assert (await run.pull(tmp_path / "back")).name == "checkpoint-500"


async def test_one_can_be_chosen_by_its_name(run: Run, source: Path, tmp_path: Path) -> None:
    await run.push(source)
    newer = write_checkpoint(tmp_path / "checkpoint-600")
    await run.push(newer)
    assert (await run.pull(tmp_path / "a")).name == "checkpoint-600"
    assert (await run.pull(tmp_path / "b", name="checkpoint-500")).seq == 1
    assert same(source, tmp_path / "b" / "checkpoint-500")
    with pytest.raises(NotFound, match="checkpoint-700") as caught:
        await run.pull(tmp_path / "c", name="checkpoint-700")
    assert "checkpoint-500, checkpoint-600" in caught.value.hint
    assert not (tmp_path / "c").exists()


async def test_another_name_can_be_given(run: Run, source: Path, tmp_path: Path) -> None:
    await run.push(source, name="best")
    await run.pull(tmp_path / "back")
    assert same(source, tmp_path / "back" / "best")
    file = tmp_path / "weights.pt"
    file.write_bytes(b"weights")
    await run.push(file, name="best.pt")
    await run.pull(tmp_path / "back")
    assert (tmp_path / "back" / "best.pt").read_bytes() == b"weights"


async def test_the_list_shows_every_checkpoint_and_which_is_latest(run: Run, source: Path, tmp_path: Path) -> None:
    assert await run.listed() == []
    for number in range(11):
        (source / "config.json").write_text(str(number))
        await run.push(source)
    await run.push(write_checkpoint(tmp_path / "last"))
    found = await run.listed()
    assert [(one.seq, one.latest) for one in found] == [(n, n == 12) for n in range(1, 13)]
    assert set(asdict(found[0])) == {"name", "seq", "step", "bytes", "files", "published_at", "latest"}
    assert (found[0].name, found[0].step, found[0].files, found[-1].step) == ("checkpoint-500", 500, 3, None)
    assert found[0].published_at.endswith("Z")


async def test_a_checkpoint_that_is_there_already_is_not_fetched(run: Run, source: Path, tmp_path: Path) -> None:
    await run.push(source)
    await run.pull(tmp_path / "back")
    told = Told()
    again = await run.pull(tmp_path / "back", told=told)
    assert (again.unchanged, again.fetched_bytes) == (True, 0)
    assert told.done_bytes == told.total_bytes
    assert (await run.pull(source.parent)).unchanged


async def test_nothing_published_is_not_found(run: Run, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no checkpoint is published"):
        await run.pull(tmp_path)
    with pytest.raises(NotFound, match="no such bucket"):
        await run.rooms.checkpoints.listed("s3://no-such-bucket/run")


@pytest.mark.parametrize(
    ("directory", "to", "name"),
    [
        ("relative", "s3://bucket/run", None),
        ("/a\0b", "s3://bucket/run", None),
        ("/tmp/x", "bucket/run", None),
        ("/tmp/x", "s3://bucket/../run", None),
        ("/tmp/x", "s3://bucket/run", "../x"),
        ("/tmp/.x", "s3://bucket/run", None),
        ("/tmp/x~2", "s3://bucket/run", None),
        ("/", "s3://bucket/run", None),
    ],
)
def test_malformed_arguments_are_refused_at_once(run: Run, directory: str, to: str, name: str | None) -> None:
    with pytest.raises(Usage):
        run.rooms.checkpoints.push(directory, to, name)
    if directory.startswith("/tmp/x") and "~" not in directory:
        with pytest.raises(Usage):
            run.rooms.checkpoints.pull(to, directory, name)


async def test_metrics_count_what_really_moved(run: Run, source: Path, tmp_path: Path) -> None:
    published = await run.push(source)
    await run.push(source)
    await run.pull(tmp_path / "back")
    await run.pull(tmp_path / "back")
    with pytest.raises(NotFound):
        await run.push(tmp_path / "nothing")
    assert run.sample("cachemgr_moved_bytes_total", direction="disk_to_bucket") == published.bytes
    assert run.sample("cachemgr_moved_bytes_total", direction="bucket_to_disk") == published.bytes
    assert run.sample("cachemgr_checkpoints_published_total") == 1
    assert run.sample("cachemgr_checkpoint_failures_total") == 1


def test_answers_are_plain_values(bucket: Bucket) -> None:
    assert {type(one) for one in (Listed, Published, Restored)} == {type}
    assert bucket.where("x").startswith("s3://bucket-")
