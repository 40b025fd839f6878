"""The life of the daemon: how it starts, how it does not, and how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cachemgr.daemon import Background
from cachemgr.domain.errors import CachemgrError
from cachemgr.settings import Settings
from tests.services.worker import Worker

pytestmark = [pytest.mark.integration]


@contextmanager
def silent_store() -> Iterator[str]:
    """A store that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def pushing(worker: Worker, store: str, grace: str) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon with a push under way that cannot end."""
    run = worker.root / "run-1"
    run.mkdir()
    (run / "last.ckpt").write_bytes(b"x" * 1000)
    worker.extra |= {"AWS_ENDPOINT_URL": store, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    worker.extra["CACHEMGR_DAEMON__GRACE"] = grace
    with worker.serving() as daemon:
        push = worker.start("ckpt", "push", str(run), "s3://bucket/run")
        try:
            deadline = time.monotonic() + 20
            while not worker.metric('cachemgr_transfers_started_total{kind="checkpoint_push"}'):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield daemon
        finally:
            push.kill()
            push.wait()


def test_a_push_has_its_grace_and_no_more(worker: Worker) -> None:
    with silent_store() as store, pushing(worker, store, "2s") as daemon:
        began = time.monotonic()
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
        assert time.monotonic() - began >= 2
        assert not worker.socket.exists()


def test_the_second_signal_insists_and_still_closes_all_doors(worker: Worker) -> None:
    with silent_store() as store, pushing(worker, store, "60s") as daemon:
        daemon.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            daemon.wait(1)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(10) == 130
        assert not worker.socket.exists()
    worker.ok("status")


def settings(worker: Worker) -> Settings:
    return Settings.load(None, worker.environ, {})


def ours() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith(("cachemgr", "disk", "volume"))}


def test_a_start_that_fails_leaves_no_socket_no_lock_and_no_thread(worker: Worker) -> None:
    with (
        socket.create_server(("127.0.0.1", worker.admin_port)),
        pytest.raises(CachemgrError),
        Background(settings(worker)),
    ):
        pass
    assert not worker.socket.exists()
    assert ours() == set()
    with Background(settings(worker)):
        assert worker.socket.exists()
    assert not worker.socket.exists()
    assert ours() == set()


def test_a_start_that_is_interrupted_leaves_nothing(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Background(settings(worker))
    monkeypatch.setattr(daemon, "_ready", _Interrupted())
    with pytest.raises(KeyboardInterrupt):
        daemon.__enter__()
    assert ours() == set()
    assert not worker.socket.exists()


class _Interrupted(threading.Event):
    """Ctrl-C comes while somebody waits for this."""

    def wait(self, timeout: float | None = None) -> bool:
        """The signal's handler raises here."""
        raise KeyboardInterrupt


def test_a_lock_that_cannot_be_taken_is_said_clearly(worker: Worker) -> None:
    (worker.disk / ".cachemgr" / "daemon.lock").mkdir(parents=True)
    assert worker.fails(1, "status")["code"] == "tier_unavailable"


def test_client_json_is_for_its_user_only(worker: Worker) -> None:
    with Background(settings(worker)):
        path = worker.socket.with_name("client.json")
        assert path.stat().st_mode & 0o777 == 0o600
