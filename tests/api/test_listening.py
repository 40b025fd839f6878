"""The socket is private and ours alone; what a dead process left is replaced, what lives is not."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cachemgr.aio.iopool import IoPool
from cachemgr.api.listening import UnixSocket, bind_tcp, bind_unix, parse_listen
from cachemgr.api.routing import Table
from cachemgr.api.server import ApiServer
from cachemgr.domain.errors import CachemgrError, Held, Usage

SERVE = """
import sys, time
from pathlib import Path
from cachemgr.api.listening import bind_unix
held = bind_unix(Path(sys.argv[1]))
print("up", flush=True)
time.sleep(60)
"""


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_the_socket_and_its_new_directory_are_ours_alone_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "a" / "run" / "api.sock"
    bound = bind_unix(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(f"{path}.lock").stat().st_mode) == 0o600
    bound.release()
    assert not path.exists()


def test_a_directory_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    bind_unix(tmp_path / "api.sock").release()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750


def test_a_live_socket_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    bound = bind_unix(path)
    with pytest.raises(Held, match="another daemon"):
        bind_unix(path)
    bound.release()
    bind_unix(path).release()


def test_a_live_socket_of_someone_else_is_not_taken_either(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen(0)
        for _ in range(3):  # until its queue is full, and after
            with pytest.raises(Held, match="another daemon"):
                bind_unix(path)
    assert path.exists()


def test_a_socket_that_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with subprocess.Popen([sys.executable, "-c", SERVE, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        with pytest.raises(Held):
            bind_unix(path)
        child.send_signal(signal.SIGKILL)
    assert path.exists()
    bind_unix(path).release()


def test_of_many_that_start_at_once_one_serves(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    begin = threading.Barrier(8)
    winners: list[UnixSocket] = []

    def start() -> None:
        begin.wait()
        with suppress(Held):
            winners.append(bind_unix(path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    winners[0].release()


def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("x")
    with pytest.raises(Usage, match="is no socket"):
        bind_unix(path)
    assert path.read_text() == "x"
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(Usage, match="is no socket"):
        bind_unix(link)


def test_another_s_socket_at_our_path_is_left_when_we_end(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    bound = bind_unix(path)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        bound.release()
        assert path.exists()


@pytest.mark.parametrize("path", [Path("/proc/none/api.sock"), Path("/tmp/" + "x" * 120), Path("/dev/null/api.sock")])
def test_where_nothing_can_listen_the_setting_is_named(path: Path) -> None:
    with pytest.raises(Usage) as caught:
        bind_unix(path)
    assert "api.socket" in caught.value.hint


@pytest.mark.parametrize(
    ("listen", "parts"),
    [("127.0.0.1:9470", ("127.0.0.1", 9470)), ("[::1]:0", ("::1", 0)), ("0.0.0.0:65535", ("0.0.0.0", 65535))],
)
def test_addresses_to_listen_on(listen: str, parts: tuple[str, int]) -> None:
    assert parse_listen(listen) == parts


@pytest.mark.parametrize("listen", ["", "9470", ":9470", "localhost", "localhost:x", "localhost:70000", "h:-1", "h:²"])
def test_what_is_no_address_is_a_usage_error(listen: str) -> None:
    with pytest.raises(Usage):
        parse_listen(listen)


def test_a_port_in_use_is_held_and_an_unknown_host_is_usage() -> None:
    with bind_tcp("127.0.0.1:0") as sock, pytest.raises(Held, match="in use"):
        bind_tcp(f"127.0.0.1:{sock.getsockname()[1]}")
    with pytest.raises(CachemgrError):
        bind_tcp("192.0.2.1:9470")


@pytest.mark.parametrize("token", [None, "", "  "])
def test_tcp_is_not_served_without_a_token(tmp_path: Path, pool: IoPool, token: str | None) -> None:
    with pytest.raises(Usage, match="without a token"):
        ApiServer(Table([]), pool, tmp_path / "api.sock", "127.0.0.1:0", token)


async def test_a_server_that_cannot_start_leaves_nothing_behind(tmp_path: Path, pool: IoPool) -> None:
    path = tmp_path / "api.sock"
    with bind_tcp("127.0.0.1:0") as taken:
        server = ApiServer(Table([]), pool, path, f"127.0.0.1:{taken.getsockname()[1]}", "token")
        with pytest.raises(Held, match="in use"):
            await server.start()
    assert not path.exists()
    again = ApiServer(Table([]), pool, path)
    await again.start()
    await again.close(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
