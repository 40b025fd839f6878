"""P10: what the daemon costs when nothing happens, how fast it is there, and how it answers under full transfer."""

from __future__ import annotations

import http.client
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator

from benchmarks.cost import processor_seconds_of, resident_of
from benchmarks.report import Row
from benchmarks.stage import REF, Stage
from tests.services.s3 import rclone_server
from tests.services.worker import Worker

_STARTS = 10
_SETTLE_SECONDS = 5.0
_IDLE_SECONDS = 20.0
_PULLS = 3


def idle(stage: Stage, rounds: int) -> Iterator[Row]:
    """The rows of P10."""
    worker = stage.worker("idler")
    ready = [_ready_seconds(worker) for _ in range(max(rounds, _STARTS))]
    yield Row("P10", "ready after exec", "", ready, 0.6, "s")
    with worker.serving() as daemon:
        yield from _at_rest(daemon)
        yield from _under_transfer(stage, worker)
    with rclone_server(stage.empty("s3")) as store:
        (store.directory or stage.root).joinpath("bucket").mkdir()
        with worker.serving(environ=store.environment()) as daemon:
            small = stage.empty("checkpoint")
            (small / "weights").write_bytes(bytes(1000))
            worker.ok("ckpt", "push", str(small), "s3://bucket/run", environ=store.environment())
            time.sleep(_SETTLE_SECONDS)
            yield Row("P10", "idle daemon that has used S3: RSS", "", [resident_of(daemon.pid)], 85, "MiB")


def _ready_seconds(worker: Worker) -> float:
    began = time.monotonic()
    daemon = worker.start("serve")
    try:
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", worker.admin_port, timeout=5)
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    return time.monotonic() - began
            except OSError:
                time.sleep(0.002)
            finally:
                connection.close()
    finally:
        daemon.terminate()
        daemon.wait()


def _at_rest(daemon: subprocess.Popen[bytes]) -> Iterator[Row]:
    time.sleep(_SETTLE_SECONDS)
    yield Row("P10", "idle daemon: RSS", "", [resident_of(daemon.pid)], 60, "MiB")
    before, began = processor_seconds_of(daemon.pid), time.monotonic()
    time.sleep(_IDLE_SECONDS)
    share = (processor_seconds_of(daemon.pid) - before) / (time.monotonic() - began)
    yield Row("P10", "idle daemon: processor", "", [100 * share], 0.3, "%")


def _under_transfer(stage: Stage, worker: Worker) -> Iterator[Row]:
    over = threading.Event()
    pages = {"/metrics": list[float](), "/livez": list[float]()}
    threads = [threading.Thread(target=_ask, args=(worker, path, seconds, over)) for path, seconds in pages.items()]
    for thread in threads:
        thread.start()
    try:
        for _ in range(_PULLS):
            worker.ok("promote", REF, "-q")
            worker.ok("rm", "-y", REF)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    note = f"{len(pages['/metrics'])} asked while pulling and promoting"
    p99 = {path: 1000 * statistics.quantiles(seconds, n=100)[98] for path, seconds in pages.items()}
    yield Row("P10", "/metrics under full transfer: p99", "", [p99["/metrics"]], 10, "ms", note)
    yield Row("P10", "loop lag under full transfer, as /livez sees it: p99", "", [p99["/livez"]], 20, "ms", note)


def _ask(worker: Worker, path: str, seconds: list[float], over: threading.Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", worker.admin_port, timeout=30)
    while not over.wait(0.02):
        began = time.monotonic()
        connection.request("GET", path)
        connection.getresponse().read()
        seconds.append(time.monotonic() - began)
    connection.close()
