"""Commands as a person sees them: in a terminal of a given size, or with all three streams as pipes."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass

COMMAND = (sys.executable, "-m", "cachemgr")
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_DEADLINE_SECONDS = 15.0


@dataclass(frozen=True)
class Seen:
    """What a terminal showed, colours and cursor movements taken out, and the exit code."""

    text: str
    code: int

    @property
    def lines(self) -> list[str]:
        return [line.rpartition("\r")[2].rstrip() for line in self.text.replace("\r\n", "\n").split("\n")]


class Terminal:
    """A command in a terminal of its own: what is typed reaches it, what it shows is kept."""

    def __init__(self, *argv: str, columns: int = 80, rows: int = 24) -> None:
        self._screen, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environ = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        environ.pop("COLUMNS", None)
        self.process = subprocess.Popen(
            [*COMMAND, *argv], stdin=theirs, stdout=theirs, stderr=theirs, env=environ, start_new_session=True
        )
        os.close(theirs)
        self._seen = b""

    def until(self, text: str) -> None:
        """Wait until it shows `text`."""
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while text not in self._text():
            assert time.monotonic() < deadline, self._text()
            assert self._read(), f"it ended without {text!r}:\n{self._text()}"

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def end(self) -> Seen:
        """Wait for its end."""
        while self._read():
            pass
        os.close(self._screen)
        return Seen(self._text(), self.process.wait(_DEADLINE_SECONDS))

    def _text(self) -> str:
        return _ESCAPE.sub("", self._seen.decode("utf-8", "replace"))

    def _read(self) -> bool:
        ready, _, _ = select.select([self._screen], [], [], _DEADLINE_SECONDS)
        assert ready, f"nothing happens any more:\n{self._text()}"
        try:
            data = os.read(self._screen, 65536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        self._seen += data
        return bool(data)


def shown(*argv: str, columns: int = 80) -> Seen:
    """What a terminal shows of a command that nobody types anything to."""
    return Terminal(*argv, columns=columns).end()
