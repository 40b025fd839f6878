"""A hold on a sealed snapshot never loses it, however often readers and removers meet."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE

import pytest

from cachemgr.tiers.layout import Layout
from tests.tiers import hold_race

READERS = 2


def race(root: Path, kind: str, rounds: int, removers_root: Path | None = None) -> Counter[str]:
    """Let readers and one remover run against each other as processes; the sum of what they tell.

    `removers_root`: the same directory as the remover's host sees it.
    """
    layout = Layout(root)
    for directory in layout.directories:
        directory.mkdir(exist_ok=True)
    for id in hold_race.IDS:
        hold_race.seal(layout, id)
    command = [sys.executable, hold_race.__file__]
    each = str(rounds // READERS)
    roles = [["remove", kind, str(removers_root or root), "0"], *([["read", kind, str(root), each]] * READERS)]
    told: Counter[str] = Counter()
    with ExitStack() as stack:
        remover, *readers = [stack.enter_context(subprocess.Popen([*command, *role], stdout=PIPE)) for role in roles]
        stack.callback((root / "stop").touch)  # left first: else a failure here would wait for the remover for ever
        for reader in readers:
            told.update(json.loads(reader.communicate()[0]))
        (root / "stop").touch()
        told.update(json.loads(remover.communicate()[0]))
    return told


@pytest.mark.integration
@pytest.mark.torture
def test_no_hold_loses_its_snapshot_in_20000_rounds(tmp_path: Path, rounds: Callable[[int], int]) -> None:
    told = race(tmp_path, "flock", rounds(20_000))
    assert told["rounds"] == rounds(20_000)
    assert told["lost"] == 0
    # It was a race: both sides won often.
    assert told["held"] > 1_000
    assert told["evictions"] > 100
    assert told["refusals"] > 100


@pytest.mark.integration
def test_no_hold_by_file_loses_its_snapshot_in_1000_rounds(tmp_path: Path) -> None:
    told = race(tmp_path, "files", 1_000)
    assert told["rounds"] == 1_000
    assert told["lost"] == 0
    assert told["held"] > 100
    assert told["evictions"] > 10


@pytest.mark.integration
def test_the_race_finds_losses_where_nothing_protects(tmp_path: Path) -> None:
    assert race(tmp_path, "heedless", 4_000)["lost"] > 0
