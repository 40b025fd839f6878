"""A process is known to have ended exactly when it has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cachemgr.tiers.owner import Owner

_PRINT_OWNER = "from cachemgr.tiers.owner import Owner; print(Owner.current(), flush=True); input()"


def _child() -> tuple[subprocess.Popen[str], Owner]:
    child = subprocess.Popen(
        [sys.executable, "-c", _PRINT_OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    owner = Owner.parse(child.stdout.readline().strip())
    assert owner is not None
    return child, owner


def test_this_process_has_not_ended_and_its_name_says_who_it_is() -> None:
    me = Owner.current()
    assert me.pid == os.getpid()
    assert me.start > 0
    assert Owner.parse(str(me)) == me
    assert Owner.parse(me.unique_name()) == me
    assert me.unique_name() != me.unique_name()
    assert not me.has_ended()


def test_a_process_has_ended_from_its_kill_on_even_as_a_zombie() -> None:
    child, owner = _child()
    with child:
        assert not owner.has_ended()
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet reaped
        assert owner.has_ended()
        child.wait()
        assert owner.has_ended()


def test_a_stopped_process_has_not_ended() -> None:
    child, owner = _child()
    with child:
        child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        assert not owner.has_ended()
        child.kill()


def test_a_pid_that_was_given_to_another_process_counts_as_ended() -> None:
    me = Owner.current()
    assert replace(me, start=me.start - 1).has_ended()


@pytest.mark.parametrize("foreign", [{"boot": "f" * 32}, {"pid_namespace": 7}], ids=["boot", "pid namespace"])
def test_nothing_is_certain_about_a_process_elsewhere(foreign: dict[str, object]) -> None:
    me = Owner.current()
    elsewhere = Owner(
        boot=str(foreign.get("boot", me.boot)),
        pid_namespace=int(str(foreign.get("pid_namespace", me.pid_namespace))),
        pid=2**22 + 1,
        start=1,
    )
    assert not elsewhere.has_ended()
    assert replace(me, pid=2**22 + 1).has_ended()


@pytest.mark.parametrize(
    "name",
    ["", "x", "1-2-3-4", f"{'a' * 32}-1-2", f"{'a' * 32}-1-2-3-", f"{'a' * 32}-1-2-3-x/y", f"{'a' * 32}-1-2-٣"],
)
def test_a_name_that_names_nobody_has_no_owner(name: str) -> None:
    assert Owner.parse(name) is None


def test_hostile_numbers_do_no_harm() -> None:
    me = Owner.current()
    for pid in ("0", "9999999999"):
        owner = Owner.parse(f"{me.boot}-{me.pid_namespace}-{pid}-5")
        assert owner is not None
        assert owner.has_ended()


def test_a_command_name_with_parentheses_is_read_right(tmp_path: Path) -> None:
    odd = tmp_path / "a) Z 1 (b"
    odd.symlink_to(sys.executable)
    with subprocess.Popen([odd, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert not replace(Owner.current(), pid=child.pid, start=0).has_ended()
        child.kill()
