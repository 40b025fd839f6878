"""Transfers as a command sees them: start, watch to the end, cancel when interrupted."""

from __future__ import annotations

import json
import queue
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from cachemgr.cli.exits import Failure
from cachemgr.client import Api, CacheError, DaemonAway

View = dict[str, Any]  # Any: a TransferView as JSON; the API's tests hold it to its schema

TICK_SECONDS = 0.5
SILENCE_SECONDS = 60.0  # the daemon sends each transfer's state at least once a second
_FINAL = frozenset({"done", "failed", "cancelled"})


class Display(Protocol):
    """Shows how far transfers are."""

    def show(self, view: View) -> None:
        """A transfer is this far now."""
        ...

    def tick(self) -> None:
        """Some time has passed, whether something happened or not."""
        ...


@dataclass(frozen=True, slots=True)
class Ended:
    """How one transfer ended: with a result, or with a failure."""

    ref: str
    result: View | None
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for a transfer: what it is about, and how to ask for it."""

    ref: str
    path: str
    body: Mapping[str, object]


def carry_out(api: Api, asks: Sequence[Ask], display: Display) -> list[Ended]:
    """Start transfers and watch them to their ends, in the order in which they were asked for.

    An interruption (Ctrl-C, SIGTERM) cancels those that still run, and goes on as KeyboardInterrupt.
    """
    running: dict[str, int] = {}
    ended: dict[int, Ended] = {}
    with _terminated_as_interrupted():
        try:
            for number, ask in enumerate(asks):
                # Interrupted in the middle of asking we would not know what to cancel.
                with _uninterrupted():
                    _start(api, number, ask, running, ended)
            for view in _views(api, list(running), display):
                shown = {**view, "ref": asks[running[view["id"]]].ref}
                display.show(shown)
                if view["state"] in _FINAL:
                    ended[running[view["id"]]] = _end(shown)
        except BaseException:
            _cancel(api, [id for id, number in running.items() if number not in ended])
            raise
    return [ended[number] for number in range(len(asks))]


def _start(api: Api, number: int, ask: Ask, running: dict[str, int], ended: dict[int, Ended]) -> None:
    try:
        running[api.call("POST", ask.path, ask.body)["id"]] = number
    except DaemonAway:
        raise
    except CacheError as error:
        ended[number] = Ended(ask.ref, None, Failure.of(error))


def _views(api: Api, ids: Sequence[str], display: Display) -> Iterator[View]:
    """Every view of every transfer as it comes; raises what its daemon's silence or end raises."""
    news: queue.SimpleQueue[View | CacheError] = queue.SimpleQueue()
    for id in ids:
        threading.Thread(target=_listen, args=(api, id, news), name=f"transfer {id}", daemon=True).start()
    left = set(ids)
    while left:
        try:
            item = news.get(timeout=TICK_SECONDS)
        except queue.Empty:
            display.tick()
            continue
        if isinstance(item, CacheError):
            raise item
        if item["state"] in _FINAL:
            left.discard(item["id"])
        yield item


def _listen(api: Api, id: str, news: queue.SimpleQueue[View | CacheError]) -> None:
    try:
        for view in events(api, f"/v1/transfers/{id}/events"):
            news.put(view)
            if view["state"] in _FINAL:
                return
        raise DaemonAway("the daemon stopped before this was done", "start again: what was verified is kept")
    except CacheError as error:
        news.put(error)


def events(api: Api, path: str) -> Iterator[View]:
    """The JSON of each server-sent event; raises DeadlineExceeded after a minute without one."""
    with api.open("GET", path, None, SILENCE_SECONDS) as response:
        data: list[bytes] = []
        while line := response.readline():
            field, _, value = line.rstrip(b"\r\n").partition(b":")
            if field == b"data":
                data.append(value.removeprefix(b" "))
            elif not field and not value and data:
                yield json.loads(b"\n".join(data))
                data.clear()


def _end(view: View) -> Ended:
    ref = str(view["ref"])
    if view["state"] == "done":
        return Ended(ref, view["result"], None)
    if view["state"] == "cancelled":
        return Ended(
            ref, None, Failure("cancelled", f"{ref} was cancelled", "start it again: what was verified is kept")
        )
    return Ended(ref, None, Failure.told(view["error"] or {}))


def _cancel(api: Api, ids: Sequence[str]) -> None:
    for id in ids:
        with suppress(CacheError):
            api.call("DELETE", f"/v1/transfers/{id}")


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Interruptions come when the block is over."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [(number, signal.signal(number, lambda number, _: came.append(number))) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt
