"""The child process lives exactly as long as somebody wants its answer, and carries no secret where others can look."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # its stubs are not worth a dependency
import pytest

from cachemgr.domain.errors import OriginUnavailable
from cachemgr.domain.ref import Ref
from cachemgr.origins.child import Child
from cachemgr.origins.hub import PROGRAM
from tests.origins.conftest import MakeOrigin
from tests.services.hub.faults import Fault
from tests.services.hub.server import Hub

REF = Ref.parse("hf://acme/m")
TREE = "/api/models/acme/m/tree/*"


def children() -> list[psutil.Process]:
    """Our own children of this moment that run the hub's client."""
    return [child for child in psutil.Process().children() if str(PROGRAM) in child.cmdline()]


def gone(pid: int, seconds: float = 5) -> bool:
    """True if the process ends in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.01)
    return False


async def reached(fault: Fault) -> None:
    """Return once the hub stalls."""
    assert await asyncio.to_thread(fault.reached.wait, 15)


@pytest.fixture
def stalled(hub: Hub) -> Fault:
    """A repository whose list of files never comes."""
    hub.add_repo("acme/m", {"a": b"1"}, private=True)
    return hub.fault(Fault("stall", TREE, times=None))


async def test_a_cancelled_caller_takes_the_child_along(hub: Hub, stalled: Fault, make_origin: MakeOrigin) -> None:
    task = asyncio.create_task(make_origin(hub.token).resolve(REF))
    await reached(stalled)
    (child,) = children()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not child.is_running()


async def test_a_deadline_takes_the_child_along(hub: Hub, stalled: Fault, make_origin: MakeOrigin) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await make_origin(hub.token).resolve(REF)
    assert not children()


async def test_cancelled_twice_is_cancelled_once(hub: Hub, stalled: Fault, make_origin: MakeOrigin) -> None:
    task = asyncio.create_task(make_origin(hub.token).resolve(REF))
    await reached(stalled)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not children()


async def test_a_child_that_was_killed_is_an_error(hub: Hub, stalled: Fault, make_origin: MakeOrigin) -> None:
    task = asyncio.create_task(make_origin(hub.token).resolve(REF))
    await reached(stalled)
    children()[0].kill()
    with pytest.raises(OriginUnavailable, match="ended with code -9"):
        await task


async def test_a_frozen_child_is_not_waited_for_in_vain(hub: Hub, stalled: Fault, make_origin: MakeOrigin) -> None:
    task = asyncio.create_task(make_origin(hub.token, silence_seconds=3).resolve(REF))
    await reached(stalled)
    (child,) = children()
    child.suspend()
    with pytest.raises(OriginUnavailable, match="said nothing for 3 s"):
        await task
    assert not child.is_running()


async def test_a_hub_that_falls_silent_is_unreachable(hub: Hub, stalled: Fault, make_origin: MakeOrigin) -> None:
    origin = make_origin(hub.token, HF_HUB_DOWNLOAD_TIMEOUT="1")
    with pytest.raises(OriginUnavailable, match="cannot be reached: ReadTimeout"):
        await origin.resolve(REF)


PARENT = """
import asyncio, json, sys
from cachemgr.domain.ref import Ref
from cachemgr.origins.hub import HubOrigin
url, token, environ = json.loads(sys.stdin.readline())
asyncio.run(HubOrigin(url, token, environ).resolve(Ref.parse("hf://acme/m")))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_child_dies_with_a_killed_daemon(
    hub: Hub, stalled: Fault, environ: dict[str, str], number: signal.Signals
) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, text=True) as parent:
        assert parent.stdin is not None
        parent.stdin.write(json.dumps([hub.url, hub.token, environ]) + "\n")
        parent.stdin.flush()
        assert stalled.reached.wait(15)
        (child,) = psutil.Process(parent.pid).children()
        parent.send_signal(number)
    assert gone(child.pid)


async def test_the_token_stands_in_no_argument_and_no_environment(
    hub: Hub, stalled: Fault, make_origin: MakeOrigin
) -> None:
    origin = make_origin(hub.token, HF_TOKEN=hub.token, HUGGING_FACE_HUB_TOKEN=hub.token)
    task = asyncio.create_task(origin.resolve(REF))
    await reached(stalled)
    (child,) = children()
    assert hub.token not in f"{child.cmdline()} {child.environ()}"
    assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0), "a core file would hold the token"
    assert os.getsid(child.pid) != os.getsid(0), "Ctrl-C in a terminal is not for the child"
    task.cancel()
    await asyncio.wait([task])


async def test_a_file_in_the_working_directory_is_not_run(
    hub: Hub, make_origin: MakeOrigin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "huggingface_hub.py").write_text("raise SystemExit('pwned')")
    monkeypatch.chdir(tmp_path)
    commit = hub.add_repo("acme/m", {"a": b"1"})
    assert (await make_origin().resolve(REF)).revision == commit


def everything(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*"))


async def test_no_cache_is_read_or_written(hub: Hub, make_origin: MakeOrigin, tmp_path: Path) -> None:
    hub.add_repo("acme/m", {"a": b"1"})
    stale = tmp_path / "hf/hub/models--acme--m"
    (stale / "refs").mkdir(parents=True)
    (stale / "refs/main").write_text("1" * 40)
    (stale / "snapshots" / ("1" * 40)).mkdir(parents=True)
    before = everything(tmp_path)
    assert (await make_origin().resolve(REF)).revision != "1" * 40
    hub.fault(Fault("status", "/api/*", times=None, status=500))
    with pytest.raises(OriginUnavailable):
        await make_origin().resolve(REF)
    with pytest.raises(OriginUnavailable):
        await make_origin(endpoint="http://127.0.0.1:9").resolve(REF)
    assert everything(tmp_path) == before


async def test_many_at_once_take_turns(hub: Hub, make_origin: MakeOrigin) -> None:
    commit = hub.add_repo("acme/m", {"a": b"1"})
    origin = make_origin()
    peak = 0

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, len(psutil.Process().children()))
            await asyncio.sleep(0.02)

    watcher = asyncio.create_task(watch())
    manifests = await asyncio.gather(*(origin.resolve(REF) for _ in range(8)))
    watcher.cancel()
    assert {manifest.revision for manifest in manifests} == {commit}
    assert peak <= 4


def program(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "program.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_library", "No module named 'no_such_library'"),
        ("print('no json')", "no JSON"),
        ("print('[1]')", "no object"),
        ("print('x' * (2 << 20))", "too long"),
        ("import os; os._exit(3)", "ended with code 3"),
    ],
    ids=["import error", "no json", "no object", "too long", "dies"],
)
async def test_a_child_that_misbehaves_is_one_clear_error(tmp_path: Path, text: str, said: str) -> None:
    child = Child(program(tmp_path, text))
    lines: list[Mapping[str, object]] = []
    with pytest.raises(OriginUnavailable, match=said):
        await child.ask({}, dict(os.environ), lines.append)
    if said != "too long":
        with pytest.raises(OriginUnavailable, match=said):
            child.ask_blocking({}, dict(os.environ), lines.append)


async def test_an_interpreter_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(OriginUnavailable, match="could not be started: No such file"):
        await Child(PROGRAM).ask({}, {}, lambda _: None)
    with pytest.raises(OriginUnavailable, match="could not be started: No such file"):
        Child(PROGRAM).ask_blocking({}, {}, lambda _: None)


async def test_what_nobody_foresaw_in_the_client_is_reported(hub: Hub, make_origin: MakeOrigin) -> None:
    origin = make_origin(HF_OIDC_RESOURCE="acme/m")
    with pytest.raises(OriginUnavailable, match="OIDCError: HF_OIDC_RESOURCE is set but no OIDC id token"):
        await origin.resolve(REF)
