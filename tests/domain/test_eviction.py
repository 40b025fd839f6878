"""Eviction takes whole snapshots, coldest first, and counts a shared blob with its last reference."""

from __future__ import annotations

import time
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from cachemgr.domain.eviction import EvictionPlan, Resident, evictable_bytes, plan

SIZES = {blob: 10 ** (index % 4) * (index + 1) for index, blob in enumerate("abcdefgh")} | {"empty": 0}


def resident(id: str, blobs: str | list[str], last_used: float) -> Resident:
    return Resident(id, {blob: SIZES[blob] for blob in blobs}, last_used)


@st.composite
def shelves(draw: st.DrawFn) -> list[Resident]:
    blobs = st.lists(st.sampled_from([*SIZES]), max_size=4, unique=True)
    drawn = draw(st.lists(st.tuples(blobs, st.integers(0, 5)), max_size=8))
    return [resident(f"m{index}", names, float(used)) for index, (names, used) in enumerate(drawn)]


kept_blobs = st.frozensets(st.sampled_from([*SIZES]), max_size=3)


def needed_by(residents: list[Resident]) -> set[str]:
    return {blob for resident in residents for blob in resident.bytes_by_blob}


def test_the_coldest_leave_first_and_no_more_than_needed() -> None:
    residents = [resident("new", "c", 3), resident("old", "a", 1), resident("middle", "b", 2)]
    assert plan(residents, 1) == EvictionPlan(("old",), 1, True)
    assert plan(residents, 2) == EvictionPlan(("old", "middle"), 21, True)
    assert plan(residents, 0) == EvictionPlan((), 0, True)
    assert plan(residents, 10**9) == EvictionPlan(("old", "middle", "new"), 321, False)


def test_a_shared_blob_is_freed_by_its_last_reference() -> None:
    residents = [resident("one", "ab", 1), resident("two", "bc", 2)]
    assert plan(residents, 1) == EvictionPlan(("one",), 1, True)
    assert plan(residents, 2).freed_bytes == 321


def test_a_snapshot_whose_blobs_all_stay_is_not_evicted_for_nothing() -> None:
    residents = [resident("same", "b", 1), resident("other", "c", 2), resident("hot", "b", 3)]
    assert plan(residents, 1) == EvictionPlan(("other",), 300, True)
    assert plan(residents, 10**9) == EvictionPlan(("same", "other", "hot"), 320, False)
    assert plan([resident("held's twin", "b", 1)], 1, {"b"}) == EvictionPlan((), 0, False)


def test_equal_use_is_decided_by_name() -> None:
    residents = [resident(name, name, 1) for name in "cab"]
    assert plan(residents, 1).ids == ("a",)
    assert plan(reversed(residents), 1).ids == ("a",)


@given(shelves(), st.integers(-5, 10**5), kept_blobs)
def test_a_plan_frees_exactly_what_nobody_needs_any_more(
    residents: list[Resident], bytes_needed: int, kept: frozenset[str]
) -> None:
    decided = plan(residents, bytes_needed, kept)
    staying = [resident for resident in residents if resident.id not in decided.ids]
    gone = needed_by(residents) - needed_by(staying) - kept
    assert decided.freed_bytes == sum(SIZES[blob] for blob in gone)
    assert decided.enough == (decided.freed_bytes >= max(0, bytes_needed))
    assert decided.enough or decided.freed_bytes == evictable_bytes(residents, kept)
    assert len(set(decided.ids)) == len(decided.ids)


@given(shelves(), st.integers(1, 10**5), kept_blobs)
def test_nobody_leaves_without_need_or_before_a_colder_one(
    residents: list[Resident], bytes_needed: int, kept: frozenset[str]
) -> None:
    decided = plan(residents, bytes_needed, kept)
    by_id = {resident.id: resident for resident in residents}
    order = [(by_id[id].last_used, id) for id in decided.ids]
    assert order == sorted(order)
    if not order:
        return
    staying = [resident for resident in residents if resident.id not in decided.ids]
    without_last = needed_by([*staying, by_id[decided.ids[-1]]]) | kept
    assert sum(SIZES[blob] for blob in needed_by(residents) - without_last) < bytes_needed
    for colder in staying:
        if (colder.last_used, colder.id) < order[-1]:
            # It stays because its leaving would free nothing.
            others = needed_by([resident for resident in staying if resident is not colder]) | kept
            assert not any(SIZES[blob] for blob in colder.bytes_by_blob if blob not in others)


@given(shelves(), st.integers(0, 10**5), st.randoms())
def test_the_order_in_which_residents_are_named_does_not_matter(
    residents: list[Resident], bytes_needed: int, random: Random
) -> None:
    shuffled = random.sample(residents, len(residents))
    assert plan(shuffled, bytes_needed) == plan(residents, bytes_needed)


def test_a_hundred_thousand_residents_are_decided_at_once() -> None:
    residents = [
        Resident(f"m{n:06}", {f"{n:064x}": 1000, "shared": 5}, float(n * 7919 % 100_003)) for n in range(100_000)
    ]
    began = time.perf_counter()
    decided = plan(residents, 1_000_000)
    assert time.perf_counter() - began < 2
    assert len(decided.ids) == 1000
