"""Every byte counts once: promised, on disk in a partial file, or stored; whoever ends how."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cachemgr.tiers.ledger import Allocation, Disk, Ledger, Reservation

TOTAL = 10**6


def ledger(stored: int = 0) -> Ledger:
    ledger = Ledger()
    ledger.measured(stored, Disk(TOTAL, TOTAL - stored, 0), quiet=True)
    return ledger


def account(ledger: Ledger) -> tuple[int, int, int | None]:
    return ledger.stored_bytes, ledger.promised_bytes, ledger.free_bytes


def test_a_promise_is_taken_at_once_and_given_back_at_the_end() -> None:
    book = ledger(1000)
    with Reservation(300, book.move):
        assert account(book) == (1000, 300, TOTAL - 1300)
    assert account(book) == (1000, 0, TOTAL - 1000)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_promise_is_given_back_on_every_exit(error: type[BaseException]) -> None:
    book = ledger()
    with pytest.raises(error), Reservation(300, book.move) as reservation, reservation.allocated(100):
        raise error
    assert account(book) == (0, 0, TOTAL)


def test_what_was_committed_stays() -> None:
    book = ledger()
    with Reservation(300, book.move) as reservation:
        with reservation.allocated(100) as file:
            assert account(book) == (100, 200, TOTAL - 300)
            file.commit()
            assert account(book) == (100, 200, TOTAL - 300)
        assert account(book) == (100, 200, TOTAL - 300)
        reservation.allocated(50).commit()
        assert account(book) == (150, 150, TOTAL - 300)
    assert account(book) == (150, 0, TOTAL - 150)


def test_a_file_that_is_given_up_is_promised_again() -> None:
    book = ledger()
    with Reservation(100, book.move) as reservation:
        for _ in range(3):
            with reservation.allocated(100):
                assert account(book) == (100, 0, TOTAL - 100)
            assert account(book) == (0, 100, TOTAL - 100)


def test_a_measurement_during_a_write_does_not_count_it_twice() -> None:
    book = ledger()
    with Reservation(500, book.move) as reservation, reservation.allocated(200):
        # Allocated with fallocate: the file system has given up the 200 already.
        book.measured(200, Disk(TOTAL, TOTAL - 200, 0), quiet=True)
        assert account(book) == (200, 300, TOTAL - 500)
        # Sparse: it is of full size, and the file system has given nothing yet.
        book.measured(200, Disk(TOTAL, TOTAL, 200), quiet=True)
        assert account(book) == (200, 300, TOTAL - 500)


def test_work_that_outlasts_its_promise_still_counts() -> None:
    book = ledger()
    reservation = Reservation(300, book.move)
    early = reservation.allocated(100)
    reservation.release()
    assert account(book) == (0, 0, TOTAL)
    early.commit()
    with reservation.allocated(30) as late:
        late.commit()
    with reservation.allocated(7):
        pass
    early.commit()
    reservation.release()
    assert account(book) == (130, 0, TOTAL - 130)


def test_more_than_was_promised_counts_as_what_it_is() -> None:
    book = ledger()
    with Reservation(100, book.move) as reservation, reservation.allocated(150) as file:
        assert account(book) == (150, 0, TOTAL - 150)
        file.commit()
    assert account(book) == (150, 0, TOTAL - 150)


def test_a_measurement_that_was_disturbed_is_believed_only_for_the_worse() -> None:
    book = ledger(1000)
    book.measured(900, Disk(TOTAL, TOTAL - 900, 0), quiet=False)
    assert account(book) == (1000, 0, TOTAL - 1000)
    book.measured(1100, Disk(TOTAL, TOTAL - 5000, 0), quiet=False)
    assert account(book) == (1100, 0, TOTAL - 5000)
    book.measured(900, Disk(TOTAL, TOTAL - 900, 0), quiet=True)
    assert account(book) == (900, 0, TOTAL - 900)


def test_a_file_system_that_does_not_tell_stays_unknown() -> None:
    book = Ledger()
    book.measured(10, Disk(0, None, 0), quiet=True)
    with Reservation(5, book.move):
        assert account(book) == (10, 5, None)
    book.measured(10, Disk(0, None, 0), quiet=False)
    assert account(book) == (10, 0, None)


class Accounts(RuleBasedStateMachine):
    """Writers, removals and measurements in any order, beside the truth about the disk."""

    def __init__(self) -> None:
        super().__init__()
        self.book = ledger()
        self.blobs = 0
        self.open: list[tuple[Reservation, int, list[tuple[Allocation, int]]]] = []
        self.stored: dict[int, int] = {}

    @rule(needed=st.integers(0, 1000))
    def reserve(self, needed: int) -> None:
        reservation = Reservation(needed, self.book.move)
        self.open.append((reservation, needed, []))
        self.stored[id(reservation)] = 0

    @precondition(lambda self: self.open)
    @rule(data=st.data(), size=st.integers(0, 1000))
    def allocate(self, data: st.DataObject, size: int) -> None:
        reservation, needed, files = data.draw(st.sampled_from(self.open))
        if sum(n for _, n in files) + self.stored[id(reservation)] + size <= needed:
            files.append((reservation.allocated(size), size))

    @precondition(lambda self: any(files for _, _, files in self.open))
    @rule(data=st.data(), good=st.booleans())
    def finish(self, data: st.DataObject, good: bool) -> None:
        reservation, _, files = data.draw(st.sampled_from([each for each in self.open if each[2]]))
        file, size = files.pop(data.draw(st.integers(0, len(files) - 1)))
        with file:
            if good:
                file.commit()
                self.blobs += size
                self.stored[id(reservation)] += size

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.open) - 1))
        reservation, _, files = self.open.pop(index)
        with ExitStack() as stack:
            stack.enter_context(reservation)
            for file, _ in files:
                stack.enter_context(file)

    @rule(share=st.floats(0, 1))
    def evict(self, share: float) -> None:
        gone = int(self.blobs * share)
        self.blobs -= gone
        self.book.move(-gone, 0)

    @rule(backed=st.floats(0, 1))
    def measure(self, backed: float) -> None:
        there = int(self.parts() * backed)
        disk = Disk(TOTAL, TOTAL - self.blobs - there, self.parts() - there)
        self.book.measured(self.blobs + self.parts(), disk, quiet=True)

    def parts(self) -> int:
        return sum(size for _, _, files in self.open for _, size in files)

    @invariant()
    def every_byte_counts_once(self) -> None:
        promised = sum(needed - self.stored[id(reservation)] for reservation, needed, _ in self.open)
        assert self.book.stored_bytes == self.blobs + self.parts()
        assert self.book.taken_bytes == self.blobs + promised
        assert self.book.free_bytes == TOTAL - self.blobs - promised


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
