"""Holds and directories on a real network volume that two hosts mount."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from cachemgr.aio.iopool import IoPool
from cachemgr.tiers.holds_volume import FileHolds
from cachemgr.tiers.layout import Layout
from tests.services.netvol import NetworkVolume, network_volume
from tests.tiers import holding
from tests.tiers.test_hold_race import race

pytestmark = pytest.mark.integration

ID = "hf--acme--m20--0123456789012345678901234567890123456789"
OTHER_HOST = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


@pytest.fixture(scope="module")
def volume() -> Iterator[NetworkVolume]:
    with network_volume() as volume:
        yield volume


@pytest.fixture
def roots(volume: NetworkVolume, request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """A fresh tier as both hosts see it."""
    name = f"tier-{abs(hash(request.node.name))}"
    for directory in Layout(volume.a / name).directories:
        directory.mkdir(parents=True)
    return volume.a / name, volume.b / name


def hold(act: str, root: Path, stack: ExitStack, *prefix: str) -> Popen[str]:
    """Start a holder or remover; it works under `root` when this returns."""
    command = [*prefix, sys.executable, holding.__file__, act, "files", str(root), ID]
    child = stack.enter_context(Popen(command, stdin=PIPE, stdout=PIPE, text=True))
    stack.callback(child.kill)
    assert child.stdout is not None
    assert child.stdout.readline() == "alone\n"
    return child


def end(child: Popen[str]) -> str:
    return child.communicate(timeout=60)[0]


def is_free(root: Path) -> bool:
    """Ask as a process of its own, which a hung mount may keep, with a deadline."""
    command = [sys.executable, holding.__file__, "remove", "files", str(root), ID]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=60, check=True)
    return done.stdout == "alone\nended\n"


def held(root: Path) -> frozenset[str]:
    async def ask() -> frozenset[str]:
        pool = IoPool(1, "held")
        try:
            return await FileHolds(Layout(root), pool).held()
        finally:
            pool.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("kind", ["flock", "files"])
def test_the_contract_of_holds_is_kept_on_a_network_volume(volume: NetworkVolume, kind: str) -> None:
    tests = Path(__file__).parents[1] / "contract" / "test_holds.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", kind, str(tests)]
    done = subprocess.run(
        [*command, f"--basetemp={volume.a / kind}"], capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stdout


def test_no_hold_loses_its_snapshot_to_a_remover_on_another_host(roots: tuple[Path, Path]) -> None:
    told = race(roots[0], "files", 600, removers_root=roots[1])
    assert told["rounds"] == 600
    assert told["lost"] == 0
    assert told["held"] > 50
    assert told["evictions"] > 5


def test_a_hold_of_another_host_counts_and_its_end_is_seen(roots: tuple[Path, Path]) -> None:
    with ExitStack() as stack:
        holder = hold("take", roots[1], stack, *OTHER_HOST)
        assert held(roots[0]) == {ID}
        assert not is_free(roots[0])
        assert end(holder) == "ended\n"
    assert held(roots[0]) == frozenset()
    assert is_free(roots[0])


def test_a_hold_of_another_host_counts_until_somebody_knows_better(roots: tuple[Path, Path]) -> None:
    """From here nobody can tell a killed process over there from a slow one."""
    with ExitStack() as stack:
        holder = hold("take", roots[1], stack, *OTHER_HOST)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert held(roots[0]) == {ID}
        assert not is_free(roots[0])


def test_a_remover_on_another_host_makes_readers_wait(roots: tuple[Path, Path]) -> None:
    with ExitStack() as stack:
        remover = hold("remove", roots[1], stack, *OTHER_HOST)
        command = [sys.executable, holding.__file__, "take", "files", str(roots[0]), ID]
        with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as reader:
            assert reader.stdout is not None
            os.set_blocking(reader.stdout.fileno(), False)
            time.sleep(1)
            assert not reader.stdout.readline()
            os.set_blocking(reader.stdout.fileno(), True)
            assert end(remover) == "ended\n"
            assert reader.stdout.readline() == "alone\n"
            assert end(reader) == "ended\n"


def test_a_host_that_is_cut_off_keeps_its_hold_and_gives_it_back_when_it_returns(
    volume: NetworkVolume, roots: tuple[Path, Path]
) -> None:
    with ExitStack() as stack:
        holder = hold("take", roots[1], stack)
        volume.cut("b")
        stack.callback(volume.heal, "b")
        assert not is_free(roots[0])
        volume.heal("b")
        assert end(holder) == "ended\n"
        assert is_free(roots[0])


def test_a_directory_renamed_onto_a_full_one_is_refused_and_onto_an_empty_one_takes_its_place(
    volume: NetworkVolume,
) -> None:
    for name in ("new", "old", "empty"):
        (volume.a / name).mkdir()
    for name in ("new", "old"):
        (volume.a / name / "file").write_text(name)
    with pytest.raises(OSError, match=os.strerror(errno.ENOTEMPTY)):
        os.rename(volume.b / "new", volume.b / "old")
    assert (volume.a / "old" / "file").read_text() == "old"
    os.rename(volume.b / "new", volume.b / "empty")
    # A host remembers for about a second which directory a name led to: why those of the holds are never replaced.
    deadline = time.monotonic() + 10
    while not (seen := (volume.a / "empty" / "file").exists()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert seen
    assert (volume.a / "empty" / "file").read_text() == "new"


def test_one_directory_of_two_hosts_wins_a_name(volume: NetworkVolume) -> None:
    def publish(host: Path, turn: int) -> str:
        mine = host / f"staging-{host.name}-{turn}"
        mine.mkdir()
        (mine / "file").write_text(host.name)
        try:
            os.rename(mine, host / f"snapshot-{turn}")
        except OSError as error:
            return os.strerror(error.errno or 0)
        return "won"

    with ThreadPoolExecutor(2) as threads:
        for turn in range(100):
            won = dict(zip("ab", threads.map(publish, (volume.a, volume.b), (turn, turn)), strict=True))
            assert sorted(won.values()) == [os.strerror(errno.ENOTEMPTY), "won"]
            winner = "a" if won["a"] == "won" else "b"
            assert (volume.a / f"snapshot-{turn}" / "file").read_text() == winner
            assert (volume.b / f"snapshot-{turn}" / "file").read_text() == winner
