"""One file at an origin as its fetch sees it: requests, redirects, and bytes that survive a broken connection."""

from __future__ import annotations

import contextlib
import http.client
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from cachemgr import __version__
from cachemgr.domain.errors import NotFound, OriginUnavailable, Unauthorized
from cachemgr.moving.judgement import REDIRECTS, Asked, judge
from cachemgr.moving.patience import Broken, Patience
from cachemgr.moving.remote import Remote, Request
from cachemgr.moving.stop import Stop
from cachemgr.moving.wires import Origin, Wire, Wires

log = logging.getLogger(__name__)

_MOST_REDIRECTS = 5
_HARMLESS = frozenset({"user-agent", "accept", "accept-encoding", "range"})
_REAL_PROGRESS = 256 << 10
_DRAIN_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class _Way:
    """Where to send a request, and how we got there: not at all, or by redirects."""

    request: Request
    redirected: bool
    private: bool  # may this way lead to a private address?


class Source:
    """One Remote during one fetch; used by all of its threads."""

    def __init__(self, remote: Remote, wires: Wires, patience: Patience, stop: Stop) -> None:
        self.size = remote.size
        self.patience = patience
        self.stop = stop
        self._remote = remote
        self._wires = wires
        self._lock = threading.Lock()
        self._first: Request | None = remote.sign()
        self._shortcut: _Way | None = None
        self._etag: str | None = None
        self.origin = Origin.of(self._first.url)

    def open(self, start: int, end: int) -> Body:
        """Ask for the bytes [start, end); raises Broken, Stopped or one of our errors.

        A redirect is remembered for the other ranges of the file: its first origin need not be asked each time. When
        the remembered one does not work any more (such URLs expire), the first origin is asked again.
        """
        shortcut = self._shortcut
        if shortcut is not None:
            try:
                return self._follow(shortcut, start, end)
            except (Broken, Unauthorized, NotFound, OriginUnavailable):
                self.stop.check()
                self._shortcut = None
        with self._lock:
            request, self._first = self._first, None
        return self._follow(_Way(request or self._remote.sign(), False, True), start, end)

    def _follow(self, way: _Way, start: int, end: int) -> Body:
        for _ in range(_MOST_REDIRECTS + 1):
            asked = Asked(way.request.where, start, end, self.size)
            wire, response = self._ask(way, asked)
            try:
                if response.status not in REDIRECTS:
                    judge(asked, response.status, response.headers)
                    self._same_file(response.headers.get("ETag"), asked)
                    self._shortcut = way if way.redirected else None
                    return Body(wire, response, end - start)
                way = self._redirected(way, wire, response.headers.get("Location"))
            except BaseException:
                wire.close()
                raise
            self.release(Body(wire, response, 0))
        raise OriginUnavailable(f"more than {_MOST_REDIRECTS} redirects")

    def release(self, body: Body) -> None:
        """Keep the connection of an answer that was read, if it can be used again."""
        reusable = False
        try:
            with self.stop.watching(body.wire.sock):
                reusable = body.drain()
        finally:
            if reusable:
                self._wires.give(body.wire)
            else:
                body.wire.close()

    def _ask(self, way: _Way, asked: Asked) -> tuple[Wire, http.client.HTTPResponse]:
        headers = {"User-Agent": f"cachemgr/{__version__}", "Accept-Encoding": "identity", **way.request.headers}
        if not asked.whole:
            headers["Range"] = f"bytes={asked.start}-{asked.end - 1}"
        wire = self._wires.take(Origin.of(way.request.url), self.stop)
        while True:
            try:
                if wire.private and not way.private:
                    raise OriginUnavailable(f"{wire.origin} is a private address, and a public origin redirects to it")
                with self.stop.watching(wire.sock):
                    return wire, wire.ask("GET", way.request.url, headers)
            except Broken:
                wire.close()
                self.stop.check()
                if not wire.used:
                    raise
                # Closed by the other side just as we asked again: that is nobody's fault, and no failed attempt.
                wire = self._wires.take(wire.origin, self.stop, fresh=True)
            except BaseException:
                wire.close()
                raise

    def _redirected(self, way: _Way, wire: Wire, location: str | None) -> _Way:
        if not self._remote.follow_redirects:
            raise OriginUnavailable(f"{way.request.where} redirects, which is not allowed here")
        if not location:
            raise OriginUnavailable(f"{way.request.where} redirects to nowhere")
        try:
            url = urljoin(way.request.url, quote(location, safe="%/:=&?~#+!$,;'@()*[]"))
            with_credentials = urlsplit(url).username is not None
        except ValueError:
            raise OriginUnavailable(f"{way.request.where} redirects to what cannot be read") from None
        before, after = wire.origin, Origin.of(url)
        if with_credentials:
            raise OriginUnavailable(f"{way.request.where} redirects to a URL with credentials in it")
        if before.scheme == "https" and after.scheme != "https":
            raise OriginUnavailable(f"{way.request.where} redirects from https to {after.scheme}")
        headers: Mapping[str, str] = way.request.headers
        if before != after:
            # A list of what may go on, not of what may not: the next name for a credential is not known yet.
            headers = {name: value for name, value in headers.items() if name.lower() in _HARMLESS}
        return _Way(Request(url, headers), True, way.private and wire.private)

    def _same_file(self, etag: str | None, asked: Asked) -> None:
        if etag is None:
            return
        etag = etag.strip().removeprefix("W/")
        with self._lock:
            if self._etag is None:
                self._etag = etag
            elif self._etag != etag:
                raise OriginUnavailable(f"{asked.where} changed while it was fetched (its ETag did)")


class Body:
    """The body of one answer: `left` bytes of it are still to come."""

    def __init__(self, wire: Wire, response: http.client.HTTPResponse, length: int) -> None:
        self.wire = wire
        self.left = length
        self.surplus = 0
        self._response = response

    def readinto(self, view: memoryview) -> int:
        """Receive at least one of the bytes that are left; raises Broken."""
        try:
            count = self._response.readinto(view[: self.left])
        except TimeoutError as exc:
            raise Broken(f"{self.wire.origin} stalled") from exc
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise Broken(f"{self.wire.origin} broke off ({type(exc).__name__})") from exc
        if not count:
            raise Broken(f"{self.wire.origin} ended {self.left} bytes early")
        self.left -= count
        return count

    def drain(self) -> bool:
        """Read on into `surplus` what may still come; True if the connection can carry another request."""
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            self.surplus = len(self._response.read(_DRAIN_BYTES))
        return self._response.isclosed() and not self._response.will_close


class Stream:
    """The bytes [start, end) of a source, in order; what breaks is asked for again from where it broke."""

    def __init__(self, source: Source, start: int, end: int) -> None:
        self._source = source
        self._at = start
        self._end = end
        self._body: Body | None = None
        self._failures = 0
        self._failed_at = start

    def readinto(self, view: memoryview) -> int:
        """Receive at least one byte; raises Stopped, or one of our errors once patience is at its end."""
        while True:
            self._source.stop.check()
            try:
                return self._receive(view)
            except Broken as exc:
                self.close()
                self._source.stop.check()
                self._pause(exc)

    def _receive(self, view: memoryview) -> int:
        body = self._body or self._source.open(self._at, self._end)
        self._body = body
        with self._source.stop.watching(body.wire.sock):
            count = body.readinto(view)
        self._at += count
        if body.left == 0:
            self._body = None
            self._source.release(body)
            if body.surplus:
                raise OriginUnavailable(f"{body.wire.origin} sends more bytes than the file has")
        return count

    def _pause(self, broken: Broken) -> None:
        if self._at - self._failed_at >= _REAL_PROGRESS:
            self._failures = 0
        self._failures += 1
        self._failed_at = self._at
        if self._failures >= self._source.patience.attempts:
            raise OriginUnavailable(f"{broken}, {self._failures} times in a row") from broken
        seconds = self._source.patience.pause(self._failures, broken)
        log.info("asking again", extra={"reason": str(broken), "at": self._at, "pause_seconds": round(seconds, 2)})
        self._source.stop.wait(seconds)

    def close(self) -> None:
        """Drop the connection unless it was given back already."""
        if self._body is not None:
            self._body.wire.close()
            self._body = None
