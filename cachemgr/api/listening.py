"""Where we listen: a private unix socket that is ours alone, and TCP addresses."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from cachemgr.domain.errors import Held, Usage

_PATH_BYTES = 107
_PROBE_SECONDS = 1.0
_BACKLOG = 128


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """A listening socket, and the lock that keeps its path ours until `release`."""

    sock: socket.socket
    path: Path
    inode: int
    lock: int

    def release(self) -> None:
        """Take the path away, if it is still this socket's, and give up the lock."""
        try:
            if os.lstat(self.path).st_ino == self.inode:
                os.unlink(self.path)
        except FileNotFoundError:
            pass
        finally:
            self.sock.close()
            os.close(self.lock)


def bind_unix(path: Path) -> UnixSocket:
    """Listen at `path`, mode 0600, in a directory that is made 0700 where it is absent.

    A socket that a dead process left is replaced. Raises Held if somebody answers there, Usage if nothing can
    listen there. Blocks, though not for long.
    """
    if len(os.fsencode(path)) > _PATH_BYTES:
        raise Usage(f"the socket path has over {_PATH_BYTES} bytes: {path}", hint="set api.socket to a shorter one")
    try:
        _make_directory(path.parent)
        lock = _lock(path)
        try:
            _clear(path)
            return _bind(path, lock)
        except BaseException:
            os.close(lock)
            raise
    except OSError as error:
        raise Usage(f"cannot listen on {path}: {error.strerror}", hint="set api.socket to a path of our own") from error


def bind_tcp(listen: str) -> socket.socket:
    """Listen at `host:port` (`[::1]:9470`; port 0 takes any); raises Usage, or Held if the port is taken."""
    host, port = parse_listen(listen)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(_BACKLOG)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Held(f"{listen} is in use", hint="another daemon may run; or listen on another port") from error
        raise Usage(f"cannot listen on {listen}: {error.strerror}", hint="write host:port") from error
    return sock


def parse_listen(listen: str) -> tuple[str, int]:
    """`host:port` as its parts; raises Usage."""
    host, colon, port = listen.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise Usage(f"{listen[:120]!r} is no address to listen on", hint="write host:port, such as 127.0.0.1:9470")
    return host, int(port)


def _make_directory(directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)


def _lock(path: Path) -> int:
    # Two daemons that start at once could both find the socket dead and both replace it. The lock file stays: to
    # remove it would let a third one lock a new file while the second still holds the old.
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise _another(path) from None
    return lock


def _clear(path: Path) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Usage(f"{path} is there and is no socket", hint="set api.socket to a path of our own")
    if _answers(path):
        raise _another(path)
    os.unlink(path)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except (BlockingIOError, TimeoutError):
            return True  # its queue is full: somebody is there
    return True


def _bind(path: Path, lock: int) -> UnixSocket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        # Linux gives the new file the mode of the socket. The umask would do, but it is the whole process's: a file
        # that another thread makes meanwhile would be shut to other workers for good.
        os.fchmod(sock.fileno(), 0o600)
        sock.bind(os.fspath(path))
        os.chmod(path, 0o600)
        sock.listen(_BACKLOG)
        return UnixSocket(sock, path, os.lstat(path).st_ino, lock)
    except BaseException:
        sock.close()
        raise


def _another(path: Path) -> Held:
    return Held(f"another daemon answers on {path}", hint="stop it, or set api.socket to another path")
