"""`rm`, `evict`, `pin` and `unpin`: what goes is said first, and in a terminal asked for."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from cachemgr.domain.errors import Held
from tests.cli.conftest import Cli
from tests.cli.content import REF, TOTAL, listed
from tests.cli.terminal import Terminal
from tests.client.stand_in import World

ID = listed().id


@pytest.fixture(autouse=True)
def _one_model_on_each_tier(world: World) -> None:
    world.listed = [listed(tier="disk"), listed()]


def test_rm_removes_and_says_what(cli: Cli, world: World) -> None:
    said = cli("rm", "hf://acme/m20", "--tier", "volume", "-y")
    assert said.out.splitlines() == [f"{ID} left the volume", "this freed 1.3 GB"]
    assert world.calls("remove") == [(REF, "volume", False)]


def test_a_dry_run_removes_nothing_and_says_so(cli: Cli, world: World) -> None:
    said = cli("rm", ID, "--dry-run")
    assert said.out.splitlines() == [f"{ID} would leave the disk", "this frees 1.3 GB"]
    assert world.calls("remove") == [(ID, None, True)]
    assert cli("evict", "--dry-run", "--json").json["dry_run"] is True
    assert world.calls("evict") == [("disk", None, None, True)]


def test_json_is_one_value_and_of_several_refs_a_list(cli: Cli) -> None:
    one = {"tier": "disk", "ids": [ID], "freed_bytes": TOTAL, "dry_run": False}
    assert cli("rm", REF, "--json").json == one
    assert cli("rm", REF, ID, "--json").json == [one, one]


def test_evict_takes_an_amount_or_one_model(cli: Cli, world: World) -> None:
    assert cli("evict", "--bytes", "20GB", "-q").out == ID + "\n"
    assert cli("evict", "hf://acme/m20", "-y").code == 0
    assert world.calls("evict") == [("disk", None, 20 * 10**9, False), ("disk", REF, None, False)]
    assert cli("evict", REF, "--bytes", "20GB").code == 2
    assert cli("evict", "--bytes", "plenty").code == 2


def test_nothing_to_evict_is_said(cli: Cli, world: World) -> None:
    world.listed = []
    assert cli("evict").out == "no model had to leave the disk\n"


def test_what_is_held_stays(cli: Cli, world: World) -> None:
    world.trouble = Held(f"{ID} is held by a reader on the disk tier")
    said = cli("rm", REF, "-y")
    assert said.code == 1
    assert "nothing was changed" in said.err


@pytest.mark.parametrize("command", ["rm", "evict"])
@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_a_terminal_is_asked_first(world: World, command: str, typed: str, code: int) -> None:
    terminal = Terminal(command, REF)
    terminal.until("[y/N]")
    terminal.type(typed)
    seen = terminal.end()
    assert seen.code == code
    assert f"{ID} would leave the disk" in " ".join(seen.lines).replace("  ", " ")
    dry = [call[-1] for call in world.calls("remove" if command == "rm" else "evict")]
    assert dry == ([True, False] if code == 0 else [True])


def test_a_terminal_that_was_told_yes_is_not_asked(world: World) -> None:
    seen = Terminal("rm", REF, "-y").end()
    assert seen.code == 0
    assert [call[-1] for call in world.calls("remove")] == [False]


def test_pin_and_unpin_show_what_they_changed(cli: Cli, world: World) -> None:
    pinned = [asdict(replace(row, pinned=True)) for row in world.listed]
    assert cli("pin", "hf://acme/m20", "--json").json == pinned
    assert cli("pin", ID, "--tier", "disk").out.splitlines()[1].endswith("pinned")
    assert cli("unpin", REF, "--json").json == [asdict(row) for row in world.listed]
    assert world.calls("pin") == [(REF, None), (ID, "disk")]
    assert world.calls("unpin") == [(REF, None)]


def test_a_path_below_a_ref_pins_the_revision(cli: Cli, world: World) -> None:
    assert cli("pin", f"{REF}/config.json").code == 0
    assert world.calls("pin") == [(REF, None)]
