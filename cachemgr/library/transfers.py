"""Transfers: movements of bytes as seen from outside, from the request for one to its result or error."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol, TypeVar

from prometheus_client import Counter, Histogram

from cachemgr.domain.errors import CachemgrError, Held, NotFound
from cachemgr.library.answers import (
    TransferKind,
    TransferState,
    TransferView,
    foreseen,
    plain,
    problem,
    timestamp,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

UNFINISHED_LIMIT = 1000
SAMPLE_SECONDS = 0.1
HEARTBEAT_SECONDS = 1.0

_FINAL: frozenset[TransferState] = frozenset({"done", "failed", "cancelled"})


class Tasks(Protocol):
    """Who owns the tasks: an `asyncio.TaskGroup` fits."""

    # Any: the send and yield types of a coroutine, which no task has a use for.
    def create_task(self, coro: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]: ...


class Meters(Protocol):
    """The metric families that transfers count in; `Metrics` has them."""

    @property
    def transfers_started(self) -> Counter: ...
    @property
    def transfers_finished(self) -> Counter: ...
    @property
    def transfer_seconds(self) -> Histogram: ...


class Transfer:
    """One movement: its job reports progress into it from any thread, others read it as a `TransferView`."""

    def __init__(self, kind: TransferKind, ref: str) -> None:
        self.id = secrets.token_hex(8)
        self.kind: TransferKind = kind
        self.ref = ref
        self._ended = asyncio.Event()
        self._lock = threading.Lock()
        self._state: TransferState = "queued"
        self._total: int | None = None
        self._done = 0
        self._files: int | None = None
        self._files_done = 0
        self._result: object = None
        self._error: Mapping[str, object] | None = None
        self._cause: CachemgrError | None = None
        self._asked_at = time.time()
        self._began: float | None = None
        self._seconds: float | None = None

    def expect(self, total_bytes: int, files: int) -> None:
        """Say (again) how much there is to move in all."""
        with self._lock:
            self._total, self._files = total_bytes, files

    def moved(self, delta_bytes: int) -> None:
        """Count bytes that moved; a negative number takes back bytes that have to move again."""
        with self._lock:
            self._done += delta_bytes

    def file_done(self) -> None:
        """Count one file that is complete."""
        with self._lock:
            self._files_done += 1

    def running(self) -> None:
        """Bytes are moving (again)."""
        self._enter("running")

    def verifying(self) -> None:
        """Nothing is left but to check what arrived."""
        self._enter("verifying")

    def view(self) -> TransferView:
        """How far it is now."""
        with self._lock:
            done = max(self._done, 0) if self._total is None else min(max(self._done, 0), self._total)
            return TransferView(
                id=self.id,
                kind=self.kind,
                ref=self.ref,
                state=self._state,
                total_bytes=self._total,
                done_bytes=done,
                files=self._files,
                files_done=self._files_done,
                started_at=timestamp(self._asked_at),
                seconds=round(self._elapsed(), 3),
                result=self._result,
                error=self._error,
            )

    @property
    def state(self) -> TransferState:
        """queued, running, verifying, done, failed or cancelled."""
        return self._state

    @property
    def final(self) -> bool:
        """True once nothing about it will change."""
        return self._state in _FINAL

    def failure(self) -> CachemgrError | None:
        """Why it did not get done, for those who wait for it; None while it runs and once it is done."""
        if self._state == "cancelled":
            return CachemgrError("the transfer was cancelled", hint="ask again", transfer=self.id)
        return self._cause

    def broke(self, cause: BaseException) -> None:
        """Give it its final state and the reason; only `Transfers` does, on the loop."""
        self._cause = foreseen(cause) or CachemgrError("an internal error", transfer=self.id)
        self.end("failed", error=problem(cause))

    async def wait(self, seconds: float | None = None) -> None:
        """Return when it has its final state, or after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            pass

    def end(self, state: TransferState, *, result: object = None, error: Mapping[str, object] | None = None) -> None:
        """Give it its final state; only `Transfers` does, on the loop."""
        with self._lock:
            self._seconds = self._elapsed()
            self._state, self._result, self._error = state, result, error
        self._ended.set()

    def _enter(self, state: TransferState) -> None:
        with self._lock:
            if self._began is None:
                self._began = time.monotonic()
            if self._state not in _FINAL:
                self._state = state

    def _elapsed(self) -> float:
        if self._seconds is not None:
            return self._seconds
        return 0.0 if self._began is None else time.monotonic() - self._began


class Transfers:
    """All movements of this process: those under way, and the last `keep` that ended.

    A job that fails ends its own transfer and nothing else: the error is kept as a problem document and logged once.
    """

    def __init__(self, tasks: Tasks, meters: Meters, keep: int = 100) -> None:
        self._tasks = tasks
        self._meters = meters
        self._keep = keep
        self._running: dict[str, asyncio.Task[None]] = {}
        self._known: dict[str, Transfer] = {}
        self._closed = False

    def start(self, kind: TransferKind, ref: str, job: Callable[[Transfer], Awaitable[object]]) -> Transfer:
        """Run `job` as a transfer; what it returns (a dataclass, or plain JSON) becomes the result.

        Raises Held when too many are under way. After `close` the transfer comes back cancelled.
        """
        if len(self._running) >= UNFINISHED_LIMIT:
            raise Held(f"{UNFINISHED_LIMIT} transfers are under way", hint="wait for some to end, or cancel them")
        transfer = Transfer(kind, ref)
        self._known[transfer.id] = transfer
        self._meters.transfers_started.labels(kind=kind).inc()
        if self._closed:
            self._settle(transfer)
        else:
            task = self._tasks.create_task(self._run(transfer, job), name=f"transfer {kind} {transfer.id}")
            self._running[transfer.id] = task
            task.add_done_callback(lambda _: self._settle(transfer))
        return transfer

    def get(self, id: str) -> Transfer:
        """The transfer of this id; raises NotFound if there never was one or it ended too long ago."""
        transfer = self._known.get(id)
        if transfer is None:
            raise NotFound(f"no transfer {id[:40]!r}", hint="`GET /v1/transfers` lists them; old ones are forgotten")
        return transfer

    def list(self) -> list[Transfer]:
        """All that are known, in the order in which they were asked for."""
        return [*self._known.values()]

    def cancel(self, id: str) -> Transfer:
        """Ask a transfer to stop (one that ended stays as it ended); raises NotFound."""
        transfer = self.get(id)
        task = self._running.get(id)
        if task is not None and not transfer.final:
            task.cancel()
        return transfer

    async def events(self, id: str) -> AsyncGenerator[TransferView, None]:
        """The transfer now and after each change, at most ten times a second and at least once, to its final state.

        Sampled, not queued: a slow reader sees fewer steps and costs nothing. Raises NotFound.
        """
        transfer = self.get(id)
        last: tuple[object, ...] = ()
        told_at = 0.0
        while True:
            view = transfer.view()
            mark = (view.state, view.done_bytes, view.total_bytes, view.files_done, view.files)
            now = time.monotonic()
            if mark != last or now - told_at >= HEARTBEAT_SECONDS:
                last, told_at = mark, now
                yield view
            if view.state in _FINAL:
                return
            await transfer.wait(SAMPLE_SECONDS)

    async def drain(self, kind: TransferKind, seconds: float) -> None:
        """Nothing starts any more; cancel what is under way, but first give those of this kind so long to finish."""
        self._closed = True
        last = {task for id, task in self._running.items() if self._known[id].kind == kind}
        for task in {*self._running.values()} - last:
            task.cancel()
        if last:
            await asyncio.wait(last, timeout=seconds)
        await self.close()

    async def close(self) -> None:
        """Cancel what is under way and wait until it has ended; nothing starts any more."""
        self._closed = True
        tasks = [*self._running.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, transfer: Transfer, job: Callable[[Transfer], Awaitable[object]]) -> None:
        transfer.running()
        try:
            result = plain(await job(transfer))
        except Exception as error:  # noqa: BLE001 - the one boundary of a job: its failure must not take its siblings down
            _report(transfer, error)
            transfer.broke(error)
        else:
            transfer.end("done", result=result)

    def _settle(self, transfer: Transfer) -> None:
        # In the task's callback: a task that was cancelled before its first step never ran a line of ours.
        self._running.pop(transfer.id, None)
        if not transfer.final:
            transfer.end("cancelled")
        view = transfer.view()
        self._meters.transfers_finished.labels(kind=view.kind, outcome=view.state).inc()
        self._meters.transfer_seconds.labels(kind=view.kind).observe(view.seconds)
        if view.state != "failed":  # a failure was logged where it was handled
            extra = {"bytes": view.done_bytes, "seconds": view.seconds}
            log.info("transfer %s", view.state, extra=_named(transfer) | extra)
        self._forget()

    def _forget(self) -> None:
        ended = [known for known in self._known.values() if known.final]
        for transfer in ended[: max(len(ended) - self._keep, 0)]:
            del self._known[transfer.id]


def _report(transfer: Transfer, error: Exception) -> None:
    known = foreseen(error)
    if known is None:
        log.error("transfer failed", exc_info=error, extra=_named(transfer))
    else:
        log.warning("transfer failed", extra=_named(transfer) | {"code": known.code, "detail": known.detail})


def _named(transfer: Transfer) -> dict[str, object]:
    return {"transfer": transfer.id, "kind": transfer.kind, "ref": transfer.ref}
