"""Connections to origins: opened with care, kept alive between requests, never used when they may be stale."""

from __future__ import annotations

import http.client
import ipaddress
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import SplitResult, urlsplit

from cachemgr.domain.errors import OriginUnavailable
from cachemgr.moving.patience import Broken, Patience
from cachemgr.moving.stop import Stop

_IDLE_SECONDS = 15.0
_PORTS = {"http": 80, "https": 443}
_Address = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: whom one speaks to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of an absolute http(s) URL; raises OriginUnavailable."""
        try:
            parts: SplitResult = urlsplit(url)
            port = parts.port
        except ValueError:
            raise OriginUnavailable("the origin gave a URL that cannot be read") from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise OriginUnavailable(f"cannot fetch from a URL of kind {parts.scheme[:20]!r}")
        return cls(parts.scheme, parts.hostname, port or _PORTS[parts.scheme])

    @property
    def host_header(self) -> str:
        """What the Host header says: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_header}"


class Wire:
    """One open connection; whoever has it is alone on it."""

    def __init__(self, origin: Origin, sock: socket.socket, *, private: bool) -> None:
        self.origin = origin
        self.sock = sock
        self.private = private
        self.used = False
        self.half_sent = False
        self._response: http.client.HTTPResponse | None = None
        self.idle_since = 0.0
        self._http = http.client.HTTPConnection(origin.host, origin.port)
        self._http.sock = sock
        self._http.auto_open = 0  # never reconnect silently

    def ask(
        self, method: str, url: str, headers: Mapping[str, str], send: Callable[[socket.socket], None] | None = None
    ) -> http.client.HTTPResponse:
        """Send a request (its body by `send`) and return the answer's head; raises Broken or OriginUnavailable."""
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            self._http.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in {"Host": self.origin.host_header, **headers}.items():
                self._http.putheader(name, value)
            self._http.endheaders()
            if send is not None:
                self._send(send)
            response = self._http.getresponse()
        except (OSError, http.client.HTTPException) as exc:
            raise Broken(f"{self.origin} broke the connection off ({type(exc).__name__})") from exc
        except ValueError:
            raise OriginUnavailable(f"{self.origin}: a URL or header cannot be sent") from None
        self.used = True
        self._response = response
        return response

    def _send(self, send: Callable[[socket.socket], None]) -> None:
        try:
            send(self.sock)
        except ConnectionError:
            # An origin that refuses answers first and closes then: its answer says more than our broken pipe.
            self.half_sent = True

    @property
    def stale(self) -> bool:
        """True if the other side has (or may have) closed it while it was idle."""
        if time.monotonic() - self.idle_since > _IDLE_SECONDS:
            return True
        poll = select.poll()
        poll.register(self.sock, select.POLLIN | select.POLLHUP | select.POLLERR)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close it; never raises."""
        if self._response is not None:
            # It reads from a file of its own, and the descriptor lives as long as that does.
            self._response.close()
        self._http.close()
        self.sock.close()


class Wires:
    """Idle connections per origin, and the way to new ones."""

    def __init__(self, keep: int, patience: Patience) -> None:
        self._keep = keep
        self._patience = patience
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[Wire]] = {}

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        return context

    def take(self, origin: Origin, stop: Stop, *, fresh: bool = False) -> Wire:
        """An idle connection, or a new one (always with `fresh`); raises Broken, OriginUnavailable or Stopped."""
        while not fresh:
            with self._lock:
                idle = self._idle.get(origin)
                wire = idle.pop() if idle else None
            if wire is None:
                break
            if not wire.stale:
                return wire
            wire.close()
        return self._connect(origin, stop)

    def give(self, wire: Wire) -> None:
        """Keep a connection whose last answer was read to its end."""
        wire.idle_since = time.monotonic()
        with self._lock:
            idle = self._idle.setdefault(wire.origin, [])
            idle.append(wire)
            surplus = idle.pop(0) if len(idle) > self._keep else None
        if surplus is not None:
            surplus.close()

    def clear(self) -> None:
        """Close all idle connections."""
        with self._lock:
            wires = [wire for idle in self._idle.values() for wire in idle]
            self._idle.clear()
        for wire in wires:
            wire.close()

    def _connect(self, origin: Origin, stop: Stop) -> Wire:
        try:
            addresses = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            raise Broken(f"{origin.host[:100]!r} has no address") from exc
        fault: OSError | None = None
        for family, kind, protocol, _, address in addresses:
            stop.check()
            sock = socket.socket(family, kind, protocol)
            try:
                return Wire(origin, self._open(sock, address, origin, stop), private=_private(str(address[0])))
            except ssl.SSLCertVerificationError as exc:
                sock.close()
                raise OriginUnavailable(
                    f"{origin} has no valid certificate: {exc.verify_message}",
                    hint="for a private authority set SSL_CERT_FILE to its certificates",
                ) from exc
            except OSError as exc:
                sock.close()
                fault = exc
            except BaseException:
                sock.close()
                raise
        raise Broken(f"cannot connect to {origin} ({fault})")

    def _open(self, sock: socket.socket, address: _Address, origin: Origin, stop: Stop) -> socket.socket:
        with stop.watching(sock):
            sock.settimeout(self._patience.connect_seconds)
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if origin.scheme == "https":
            sock = self._secure(sock, origin, stop)
        sock.settimeout(self._patience.stall_seconds)
        return sock

    def _secure(self, sock: socket.socket, origin: Origin, stop: Stop) -> ssl.SSLSocket:
        # Wrapping takes the descriptor over: from here on only the wrapped one can close it.
        secured = self._tls.wrap_socket(sock, server_hostname=origin.host, do_handshake_on_connect=False)
        try:
            with stop.watching(secured):
                secured.do_handshake()
        except BaseException:
            secured.close()
            raise
        return secured


def _private(address: str) -> bool:
    return not ipaddress.ip_address(address.partition("%")[0]).is_global
