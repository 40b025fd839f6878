"""Whom a command talks to: the daemon that runs or, where none does, one of the command's own."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cachemgr.client import Api, Unauthorized
from cachemgr.settings import Settings

_PROBE_SECONDS = 5.0
_PREFIX = "cachemgr-"
_NOBODY = frozenset({errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR})


@dataclass(frozen=True, slots=True)
class Session:
    """The API to talk to, and whether its daemon ends with this command."""

    api: Api
    own: bool


def load(config: Path | None) -> Settings:
    """The configuration of this command; raises Usage."""
    return Settings.load(config, os.environ, {})


@contextmanager
def session(settings: Settings) -> Iterator[Session]:
    """An API that answers inside the block; raises what keeps a daemon of our own from serving.

    A daemon of our own serves on a socket in a directory that only this user can enter, has no admin port, and does not
    touch the configured models: it is there for this command alone.
    """
    if answers(settings.api.socket):
        yield Session(Api(str(settings.api.socket)), own=False)
        return
    from cachemgr.daemon import Background  # noqa: PLC0415 - takes half a second, and where a daemon runs nobody needs it

    _hush(settings)
    _clear_killed(_short_directory())
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=_short_directory()) as directory:
        private = Path(directory) / "s"
        with Background(_private(settings, private)):
            yield Session(Api(str(private)), own=True)


def answers(path: Path) -> bool:
    """True if a daemon listens at `path`; raises Unauthorized if it is another user's."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(os.fspath(path))
        except PermissionError:
            hint = "run this as the user that runs the daemon, or name another one with CACHEMGR_SOCKET"
            raise Unauthorized(f"the daemon at {path} is another user's", hint) from None
        except OSError as error:
            # Too long a path is nobody's; a queue that is full, or a daemon that is frozen, is somebody's.
            return not (error.errno in _NOBODY or "too long" in str(error))
    return True


def _private(settings: Settings, path: Path) -> Settings:
    api = settings.api.model_copy(update={"socket": path, "listen": None})
    admin = settings.admin.model_copy(update={"listen": None})
    return settings.model_copy(update={"api": api, "admin": admin, "models": ()})


def _hush(settings: Settings) -> None:
    # What goes wrong is told by the command itself; the daemon's lines would only tear its progress bars.
    if settings.log.level != "debug":
        logging.getLogger("cachemgr").addHandler(logging.NullHandler())
        logging.getLogger("cachemgr").propagate = False


def _short_directory() -> Path:
    # A socket's path has 107 bytes at most, and TMPDIR may be long.
    usual = Path(tempfile.gettempdir())
    return usual if len(os.fsencode(usual)) < 60 else Path("/tmp")


def _clear_killed(below: Path) -> None:
    """Remove what commands left that were killed: nobody holds the lock of their socket any more."""
    for lock in below.glob(f"{_PREFIX}*/s.lock"):
        with suppress(OSError), lock.open("r") as held:  # another user's, or gone meanwhile
            if lock.parent.stat().st_uid == os.geteuid():
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent)
