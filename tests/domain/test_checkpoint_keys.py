"""Keys: every checkpoint has its own number and its own place, whatever names people and other tools choose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemgr.domain.checkpoint_keys import Announcement, Books, BucketPath, Record, check_name, is_name, step_of
from cachemgr.domain.errors import Usage

WRITER = "0123456789abcdef" * 2 + "-4026531836-77-12345-" + "fedcba9876543210"
OTHER = WRITER.replace("-77-", "-78-")

names = st.text(max_size=40).filter(is_name)


def books(writing: list[Announcement], published: list[Record], removed: list[Record]) -> Books:
    return Books.read(
        [one.key for one in writing],
        [one.key for one in published],
        [f".cachemgr/removed/{one.seq}-{one.name}.json" for one in removed],
    )


@pytest.mark.parametrize(
    ("text", "bucket", "prefix"),
    [
        ("s3://bucket/run", "bucket", "run"),
        ("s3://bucket/run/", "bucket", "run"),
        ("s3://bucket/a/b c/ü", "bucket", "a/b c/ü"),
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("s3://my.bucket-1/run?x#y", "my.bucket-1", "run?x#y"),
    ],
)
def test_a_place_is_a_bucket_and_a_prefix(text: str, bucket: str, prefix: str) -> None:
    place = BucketPath.parse(text)
    assert (place.bucket, place.prefix) == (bucket, prefix)
    assert BucketPath.parse(str(place)) == place
    assert place.relative(place.key("x/y")) == "x/y"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bucket/run",
        "s3:/bucket",
        "s3://",
        "s3:///run",
        "s3://b/run",
        "s3://UP..per/run",
        "s3://bucket@evil/run",
        "s3://bucket:80/run",
        "s3://bucket//run",
        "s3://bucket/run//",
        "s3://bucket/../run",
        "s3://bucket/a/./b",
        "s3://bucket/a\0b",
        "s3://bucket/run/.cachemgr",
        "s3://bucket/" + "x" * 2000,
        "http://bucket/run",
    ],
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(Usage):
        BucketPath.parse(text)


def test_a_key_that_no_store_takes_is_refused() -> None:
    with pytest.raises(Usage, match="longer"):
        BucketPath("bucket", "x" * 900).key("y" * 200)


@pytest.mark.parametrize("name", ["checkpoint-500", "last.ckpt", "epoch=1-step=2.ckpt", "a b", "ü", "x~", "x~y", "1"])
def test_names_of_checkpoints(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".x", ".cachemgr", "a/b", "a\0b", "a\nb", "x~2", "x~12", "x" * 300])
def test_names_that_hide_or_mislead_are_refused(name: str) -> None:
    with pytest.raises(Usage, match="cannot be called"):
        check_name(name)


@given(st.integers(1, 10**15), names)
def test_keys_say_what_they_were_made_from(seq: int, name: str) -> None:
    assert Record.parse(Record(seq, name).key) == Record(seq, name)
    mine = Announcement(seq, WRITER, name)
    assert Announcement.parse(mine.key) == mine


@pytest.mark.parametrize(
    "key",
    [
        "",
        "x",
        "0-x.json",
        "01-x.json",
        "1-.json",
        "1-x",
        "x-1.json",
        "1-a/b.json",
        "1-x~2.json",
        "²-x.json",
        "1-.x.json",
    ],
)
def test_other_keys_are_somebody_elses(key: str) -> None:
    assert Record.parse(f".cachemgr/checkpoints/{key}") is None
    assert Record.parse(key) is None
    assert Announcement.parse(f".cachemgr/writing/{key}") is None


def test_the_highest_number_counts_wherever_it_stands() -> None:
    assert books([], [], []).highest == 0
    assert books([], [Record(2, "a"), Record(10, "b")], []).highest == 10
    assert books([], [Record(2, "a")], [Record(5, "b")]).highest == 5
    assert books([Announcement(9, WRITER, "c")], [Record(2, "a")], [Record(5, "b")]).highest == 9


def test_the_newest_has_the_highest_number_not_the_last_key() -> None:
    found = books([], [Record(10, "a"), Record(9, "b"), Record(2, "a")], [])
    assert found.newest() == Record(10, "a")
    assert found.newest("b") == Record(9, "b")
    assert found.newest("c") is None
    assert books([], [], [Record(1, "a")]).newest() is None


def test_a_number_is_granted_to_one_alone() -> None:
    mine, other = Announcement(3, WRITER, "a"), Announcement(3, OTHER, "b")
    assert books([mine], [Record(2, "a")], []).grants(mine)
    assert not books([mine, other], [], []).grants(mine)
    assert not books([mine], [Record(3, "b")], []).grants(mine)
    assert not books([mine], [], [Record(4, "b")]).grants(mine)
    assert books([mine, Announcement(4, OTHER, "b")], [], []).grants(mine)


@given(st.lists(st.sampled_from("ab"), min_size=2, max_size=5), st.randoms())
def test_of_all_who_announce_and_then_look_at_most_one_has_a_number(writers: list[str], random: object) -> None:
    # Everybody announces the same number; each looks at some moment after its own announcement.
    mine = [Announcement(1, WRITER.replace("-77-", f"-{n}-"), name) for n, name in enumerate(writers)]
    granted = [one for n, one in enumerate(mine) if books(mine[: max(n + 1, 1)], [], []).grants(one)]
    assert len(granted) <= 1


def test_a_name_has_its_plain_place_only_once() -> None:
    mine = Announcement(3, WRITER, "a")
    assert books([mine], [Record(2, "b")], []).data_of(mine, plain=True) == "a"
    assert books([mine], [], []).data_of(mine, plain=False) == "a~3"
    assert books([mine], [Record(2, "a")], []).data_of(mine, plain=True) == "a~3"
    assert books([mine], [], [Record(2, "a")]).data_of(mine, plain=True) == "a~3"
    assert books([mine, Announcement(4, OTHER, "a")], [], []).data_of(mine, plain=True) == "a~3"


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("checkpoint-500", 500),
        ("checkpoint_0042", 42),
        ("global_step1000", 1000),
        ("epoch=3-step=1500.ckpt", 1500),
        ("step_7.safetensors", 7),
        ("iter-12", 12),
        ("last.ckpt", None),
        ("model-7b", None),
        ("checkpoint", None),
        ("epoch=3", None),
        ("checkpoint-" + "9" * 30, None),
    ],
)
def test_a_name_tells_the_step(name: str, step: int | None) -> None:
    assert step_of(name) == step
