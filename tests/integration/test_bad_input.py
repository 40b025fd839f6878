"""What a user gets wrong, and what a machine does: each has its code and one clear message, and nothing is lost."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.integration.content import assert_same, seals
from tests.services.hub.models import model_m20
from tests.services.hub.server import Hub
from tests.services.worker import Worker

pytestmark = [pytest.mark.integration]

REF = "hf://acme/m20"


def test_a_configuration_with_a_typo_names_the_key_that_was_meant(worker: Worker) -> None:
    config = worker.root / "cachemgr.toml"
    config.write_text("[disk]\npaht = '/x'\n")
    problem = worker.fails(2, "ls", "--config", str(config))
    assert "paht" in problem["detail"]
    assert "path" in problem["detail"] + problem["hint"]
    done = worker.run("ls", environ={"CACHEMGR_DISK__PAHT": "/x"})
    assert done.returncode == 2
    assert "CACHEMGR_DISK__PATH" in done.stderr


def test_a_second_daemon_on_the_same_disk_is_refused(worker: Worker) -> None:
    with worker.serving():
        same_socket = worker.run("serve")
        assert same_socket.returncode == 1
        assert "another" in same_socket.stderr
        other = {"CACHEMGR_API__SOCKET": str(worker.root / "other" / "x.sock"), "CACHEMGR_ADMIN__LISTEN": ""}
        same_disk = worker.run("serve", environ=other)
        assert same_disk.returncode == 1
        assert "another" in same_disk.stderr
        assert worker.json("status")["pid"]


def test_a_socket_that_a_killed_daemon_left_is_replaced(worker: Worker) -> None:
    with worker.serving() as daemon:
        daemon.kill()
        daemon.wait()
    assert stat.S_ISSOCK(os.stat(worker.socket).st_mode)
    with worker.serving():
        assert stat.S_IMODE(os.stat(worker.socket).st_mode) == 0o600
        assert worker.json("ls") == []


def test_a_read_only_volume_is_read_in_place(worker: Worker, hub: Hub, read_only: object) -> None:
    hub.add_repo("acme/m20", model_m20(0.001))
    pulled = worker.json("pull", REF)
    assert callable(read_only)
    read_only(worker.volume)
    assert worker.ok("path", "--tier", "volume", REF).strip() == pulled["path"]
    promoted = worker.json("promote", REF)
    assert promoted["fetched_bytes"] == 0
    assert promoted["path"].startswith(str(worker.disk))
    hub.add_repo("acme/new", model_m20(0.001, seed=2))
    new = worker.json("pull", "hf://acme/new")
    assert new["tier"] == "disk"
    assert worker.fails(1, "rm", REF, "--tier", "volume", "-y")["code"] in ("held", "tier_unavailable")


def test_a_full_disk_is_exit_5_with_numbers_and_leaves_the_volume_whole(
    worker: Worker, hub: Hub, small_disk: Path
) -> None:
    hub.add_repo("acme/m20", model_m20(0.08))
    worker.disk = small_disk
    problem = worker.fails(5, "promote", REF)
    assert problem["needed_bytes"] > 100_000_000
    assert problem["free_bytes"] < 70_000_000
    assert seals(small_disk) == set()
    pulled = worker.json("pull", REF)
    assert_same(hub, "acme/m20", Path(pulled["path"]))


def test_a_disk_that_fits_is_filled_no_further_than_its_marks(worker: Worker, hub: Hub, small_disk: Path) -> None:
    worker.disk = small_disk
    for number in range(4):
        hub.add_repo(f"acme/m{number}", model_m20(0.014, seed=number))
        worker.ok("promote", f"hf://acme/m{number}")
    about = os.statvfs(small_disk)
    used = (about.f_blocks - about.f_bfree) * about.f_frsize
    assert used <= 0.9 * about.f_blocks * about.f_frsize
    assert len(seals(small_disk)) == 2


@pytest.mark.parametrize(
    "arguments", [("pull",), ("nonsense",), ("ls", "--tier", "attic"), ("pull", REF, "--nonsense")]
)
def test_wrong_usage_is_exit_2(worker: Worker, arguments: tuple[str, ...]) -> None:
    assert worker.run(*arguments).returncode == 2
