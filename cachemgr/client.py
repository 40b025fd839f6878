"""What a handler imports: verified models by name, held while they are read. This one file may be copied anywhere.

    with model("hf://org/name@main") as directory:      # waits, holds, gives back
        load(directory)

Standard library only, Python 3.9 or newer, and nothing of the rest of this project. Every failure is a `CacheError`
with a stable `code`; a daemon that is away is one at once, so that the caller can go to the origin instead.
"""

from __future__ import annotations

import asyncio
import fcntl
import http.client
import json
import os
import re
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, unquote

T = TypeVar("T")
Json = Any  # Any: decoded JSON

DEADLINE_SECONDS, HOLD_SECONDS, CONTROL_SECONDS = 300.0, 120, 10.0
_TIMEOUTS = (TimeoutError, socket.timeout, BlockingIOError)  # the first two are one only since Python 3.10


class CacheError(Exception):
    """What went wrong: `code` is stable, `detail` says what happened, `hint` what to do, `fields` the numbers."""

    code, hint = "internal", "see the daemon's log"

    def __init_subclass__(cls, code: str, hint: str = hint) -> None:
        cls.code, cls.hint = code, hint

    def __init__(self, detail: str, hint: str | None = None, code: str | None = None, **fields: Json) -> None:
        super().__init__(detail)
        self.detail, self.fields, self.hint, self.code = detail, fields, hint or self.hint, code or self.code


class Usage(CacheError, code="usage", hint="write hf://org/name[@revision][/path]"):
    """The request is malformed."""


class Unauthorized(CacheError, code="unauthorized"):
    """A credential is missing or not good enough."""


class NotFound(CacheError, code="not_found"):
    """What was named is not there."""


class DeadlineExceeded(CacheError, code="timeout", hint="ask again, give a longer deadline, or go to the origin"):
    """The deadline passed first."""


class NoSpace(CacheError, code="no_space"):
    """No tier can take it; `fields` has needed_bytes, free_bytes and evictable_bytes."""


class VerificationFailed(CacheError, code="verification_failed"):
    """The bytes are not what their origin promised."""


class OriginUnavailable(CacheError, code="origin_unavailable"):
    """The origin does not answer, and nothing verified is here."""


class DaemonAway(CacheError, code="daemon_away", hint="start it with `cachemgr serve`, or go to the origin"):
    """Nobody answers on the socket."""


class Located(str):
    """The directory (or file) of a verified model: a `str` and an `os.PathLike`, that also says where it lies."""

    tier: str
    id: str
    revision: str

    def __new__(cls, path: str, tier: str = "", id: str = "", revision: str = "") -> Located:
        located = super().__new__(cls, path)
        located.tier, located.id, located.revision = tier, id, revision
        return located

    def __fspath__(self) -> str:
        return str(self)


@contextmanager
def model(ref: str, tier: str = "any", deadline: float | None = DEADLINE_SECONDS) -> Iterator[Located]:
    """The verified model on `tier` ("disk", "volume" or "any"), protected from eviction inside the block.

    Waits up to `deadline` seconds for it to arrive (None: as long as it takes; 0: not at all). "any" means the
    fastest tier that can take it: `.tier` of what is yielded says which it was. Raises CacheError.
    """
    located, release = _acquire(Api(), ref, tier, deadline)
    try:
        yield located
    finally:
        release()


@asynccontextmanager
async def async_model(ref: str, tier: str = "any", deadline: float | None = DEADLINE_SECONDS) -> AsyncIterator[Located]:
    """`model` for an event loop, which it never blocks; a cancelled caller leaves no thread and no lock behind."""
    api = Api()
    located, release = await _in_thread(lambda: _acquire(api, ref, tier, deadline), api.abort, lambda held: held[1]())
    try:
        yield located
    finally:
        await _in_thread(release)


def path(ref: str, tier: str = "any") -> Located:
    """Where the verified model is now; counts as a use, holds nothing, waits for nothing.

    A hit asks nobody. Raises NotFound when it is on no tier (or not on the one asked for), and other CacheErrors.
    """
    api = Api()
    places = [place for place in tiers(api.socket_path) if tier in ("any", place.name)]
    return _look(places, ref) or _located(_ask(api, ref, tier, 0.0, 0))


async def apath(ref: str, tier: str = "any") -> Located:
    """`path` for an event loop, which it never blocks."""
    return await _in_thread(lambda: path(ref, tier))


class Api:
    """The daemon's HTTP API on its unix socket: one connection per call, from any thread.

    Raises DaemonAway, DeadlineExceeded, and what the daemon answers as the CacheError of its code.
    """

    def __init__(self, socket_path: str | None = None) -> None:
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        runtime = os.environ.get("XDG_RUNTIME_DIR") if os.geteuid() else "/run"
        default = f"{runtime}/cachemgr" if runtime else f"{cache}/cachemgr/run"
        self.socket_path = socket_path or os.environ.get("CACHEMGR_SOCKET") or f"{default}/cachemgr.sock"
        self._live: set[socket.socket] = set()
        self._aborted = False

    def call(self, method: str, path: str, body: Json = None, timeout: float | None = CONTROL_SECONDS) -> Json:
        """The JSON that the daemon answers within `timeout` seconds; None for an empty answer."""
        with self.open(method, path, body, timeout) as response:
            data = response.read()
        try:
            return json.loads(data) if data else None
        except ValueError:
            raise CacheError(f"the daemon's answer to {method} {path} is no JSON") from None

    @contextmanager
    def open(self, method: str, path: str, body: Json, timeout: float | None) -> Iterator[http.client.HTTPResponse]:
        """The daemon's good answer, to be read inside the block; no single read takes longer than `timeout`."""
        connection = http.client.HTTPConnection("localhost", timeout=timeout)
        connection.sock = sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._live.add(sock)
        try:
            micros = int((timeout or 0) * 1e6) + bool(timeout)  # in the kernel: a full queue is worth waiting for
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", *divmod(micros, 10**6)))
            sock.connect(self.socket_path)
            sock.settimeout(timeout)
            if self._aborted:
                raise DaemonAway("the call was given up")
            connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
            with connection.getresponse() as response:
                if response.status >= 400:
                    raise _error(response.status, response.read())
                yield response
        except _TIMEOUTS as exc:
            raise DeadlineExceeded(f"the daemon did not answer {method} {path} in {timeout:g} s") from exc
        except (OSError, http.client.HTTPException) as exc:
            raise DaemonAway(f"no daemon answers on {self.socket_path}: {exc or type(exc).__name__}") from exc
        finally:
            self._live.discard(sock)
            connection.close()
            sock.close()

    def abort(self) -> None:
        """End calls under way, from another thread: they raise DaemonAway, and so do later ones."""
        self._aborted = True
        for sock in list(self._live):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class Tier(NamedTuple):
    """A directory where models stay; `flock`: a shared lock there holds a model."""

    name: str
    root: str
    hub: str
    flock: bool

    def own(self, kind: str, name: str) -> str:
        return f"{self.root}/.cachemgr/{kind}/{name}"


def _acquire(api: Api, ref: str, tier: str, deadline: float | None) -> tuple[Located, Callable[[], None]]:
    fastest = [place for place in tiers(api.socket_path) if tier in ("any", place.name)][:1]
    found = _look(fastest, ref)  # only there: from a slower tier the daemon may still bring it to the fastest
    release = _flock(fastest, found, ref) if found is not None else None
    if found is None or release is None:
        answer = _ask(api, ref, tier, deadline, HOLD_SECONDS)
        found = _located(answer)
        lease = _Lease(Api(api.socket_path), ref, found, answer.get("hold"))
        release = _flock(tiers(api.socket_path), found, ref)
        if release is None:
            threading.Thread(target=lease.renew, name="cachemgr-hold", daemon=True).start()
            return found, lease.release
        lease.release()  # a lock of our own outlives the daemon; the lease only bridged the time until we had it
    return found, release


def _ask(api: Api, ref: str, tier: str, deadline: float | None, hold_seconds: int) -> Json:
    # A little less than all of it: the daemon may then still answer with a slower tier.
    wait = True if deadline is None else deadline * 0.9 if deadline > 0 else False
    limit = deadline if wait else CONTROL_SECONDS
    body = {"ref": ref, "tier": tier, "wait": wait, "hold_seconds": hold_seconds, "timeout": limit}
    answer = api.call("POST", "/v1/models/acquire", body, limit)
    if not isinstance(answer, dict) or not all(isinstance(answer.get(name), str) for name in ("path", "tier", "id")):
        raise CacheError("the daemon's answer lacks a path")
    return answer


def _located(answer: Json) -> Located:
    return Located(answer["path"], answer["tier"], answer["id"], str(answer.get("revision", "")))


class _Lease:
    """A hold that the daemon keeps for us; renewed by a thread until it is released."""

    def __init__(self, api: Api, ref: str, located: Located, hold: str | None) -> None:
        self._api, self._ref, self._located, self._hold, self._ended = api, ref, located, hold, threading.Event()

    def renew(self) -> None:
        while not self._ended.wait(HOLD_SECONDS / 3):
            try:
                self._api.call("POST", f"/v1/holds/{self._hold}/renew", {"seconds": HOLD_SECONDS})
            except NotFound:
                self._take_again()
            except CacheError:
                continue  # away or slow: the next turn tries again

    def _take_again(self) -> None:
        # The daemon restarted, or this worker was frozen for longer than the hold lived.
        scheme, name, _, below = _split(self._ref)
        ref = f"{scheme}://{name}@{self._located.revision}/{below}".rstrip("/")
        with suppress(CacheError):
            self._hold = _ask(self._api, ref, self._located.tier, 0.0, HOLD_SECONDS).get("hold")
            if self._ended.is_set():  # released meanwhile, under its old name
                self.release()

    def release(self) -> None:
        self._ended.set()
        with suppress(CacheError):  # it ends by itself
            self._api.call("DELETE", f"/v1/holds/{self._hold}", timeout=2.0) if self._hold else None


def _flock(places: list[Tier], found: Located, ref: str) -> Callable[[], None] | None:
    """Hold by a lock that ends with this process, then look at the seal: never the other way round."""
    for place in places:
        lock = _lock(place.own("holds", found.id)) if place.flock and place.name == found.tier else None
        if lock is not None:
            if _sealed(place, found.id, _split(ref)[3]) and os.path.exists(found):
                return partial(_unlock, lock)
            _unlock(lock)
    return None


def _lock(name: str) -> int | None:
    try:
        lock = os.open(name, os.O_RDONLY | os.O_CREAT, 0o666)
    except OSError:
        return None
    with suppress(OSError):  # it is being evicted, or just was: the daemon knows what comes next
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), os.stat(name)):
            return lock
    os.close(lock)
    return None


def _unlock(lock: int) -> None:
    fcntl.flock(lock, fcntl.LOCK_UN)  # a forked child may share the descriptor: closing ours is not enough
    os.close(lock)


def _look(places: list[Tier], ref: str) -> Located | None:
    """What the fastest of these tiers that knows `ref` says it is, where it lies fastest; counts as a use."""
    scheme, name, revision, below = _split(ref)
    key = "--".join([scheme, _escape(name), _escape(revision)])
    for book in places:
        record = _read(book.own("refs", key + ".json"))
        id, commit, inside = (str(record.get(field, "")) for field in ("id", "revision", "path"))
        for place in places if id and "/" not in id else ():
            # The hub directory of a tier may lie anywhere: common to all is the tail models--x/snapshots/<commit>.
            home = os.path.join(place.hub, *inside.split("/")[-3:]) if scheme == "hf" else f"{place.root}/{inside}"
            located = f"{home}/{below}".rstrip("/")
            if _sealed(place, id, below) and os.path.exists(located):
                _touch(place.own("used", id))
                return Located(located, place.name, id, commit)
    return None


def _sealed(place: Tier, id: str, below: str) -> bool:
    with suppress(OSError):
        stat = os.stat(name := place.own("manifests", id + ".json"))
        return _covers(name, below, stat.st_ino, stat.st_mtime_ns, stat.st_size)
    return False


@lru_cache(maxsize=1024)
def _covers(name: str, below: str, *_same_file: int) -> bool:
    """True if the seal says that all of the revision (or all of `below`) is here."""
    seal = _read(name)
    listed = (str(entry.get("path")) for entry in seal.get("files", ()))
    wanted = {path for path in listed if not below or path == below or path.startswith(below + "/")}
    return bool(wanted) and (seal.get("have") is None or wanted <= set(seal["have"]))


def _touch(name: str) -> None:
    with suppress(OSError), open(name, "ab") as file:  # a tier that is read-only for us counts no uses
        os.utime(file.fileno())


def _read(name: str) -> Mapping[str, Json]:
    try:
        with open(name, "rb") as file:
            value = json.loads(file.read())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def tiers(socket_path: str) -> list[Tier]:
    """The tiers' directories, fastest first, as the daemon wrote them beside its socket; none if it never did."""
    known = _read(os.path.join(os.path.dirname(socket_path), "client.json"))
    listed = known.get("tiers", ()) if known.get("version") == 1 else ()
    return [Tier(one["name"], one["root"], one["hub"], one["holds"] == "flock") for one in listed]


def _split(ref: str) -> tuple[str, str, str, str]:
    """Scheme, name, revision, and what is named below the snapshot ("" for all of it); the daemon judges them."""
    scheme, separator, rest = ref.partition("://")
    if not separator:
        raise Usage(f"{ref!r} is not a ref")
    before, at, after = rest.partition("@")
    if not at:
        org, name, below, *_ = *before.split("/", 2), "", ""
        return scheme, f"{org}/{name}".rstrip("/"), "main", below
    special = re.match(r"refs/(?:pr|convert)/[A-Za-z0-9_.-]+", after)
    revision = special[0] if special else after.partition("/")[0]
    return scheme, before, revision if special else unquote(revision), after[len(revision) + 1 :]


def _escape(text: str) -> str:
    out = quote(text, safe="", errors="replace").replace("~", "%7E").replace("--", "-%2D")
    return "%2E" + out[1:] if out.startswith(".") else out


def _error(status: int, data: bytes) -> CacheError:
    try:
        fields = dict(json.loads(data))
        code, detail, hint = str(fields.pop("code")), str(fields.pop("detail")), fields.pop("hint", None)
    except (ValueError, TypeError, KeyError):
        return CacheError(f"the daemon answered {status}")
    kind = next((kind for kind in CacheError.__subclasses__() if kind.code == code), CacheError)
    fields = {name: value for name, value in fields.items() if name not in ("type", "title", "status")}
    return kind(detail, hint, code, **fields)


async def _in_thread(call: Callable[[], T], stop: Callable[[], object] = bool, undo: Callable[[T], object] = id) -> T:
    """`call()` in a thread of its own; a cancelled caller stops it, waits for its end, and undoes what it did."""
    executor = ThreadPoolExecutor(1, "cachemgr-client")
    waiter = asyncio.wrap_future(executor.submit(call))
    try:
        return await asyncio.shield(waiter)
    except asyncio.CancelledError:
        stop()
        if await _ended(waiter):
            await _ended(asyncio.wrap_future(executor.submit(undo, waiter.result())))
        raise
    finally:
        executor.shutdown(wait=False)


async def _ended(waiter: asyncio.Future[T]) -> bool:
    while not waiter.done():
        with suppress(asyncio.CancelledError):  # it is on its way out already; the thread is what matters now
            await asyncio.wait([waiter])
    return waiter.exception() is None
