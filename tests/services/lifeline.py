"""Scripts that serve a real part until their standard input ends, even if the test run that started them is killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE, Popen
from typing import IO

from tests.services.parts import require

END_SECONDS = 60
_CANNOT_HERE = 3


@contextmanager
def served(part: str, script: Path, arguments: list[str], environ: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Start `script serve DIR ARGUMENTS` on a fresh directory; yield the `NAME=value` lines that it prints.

    Leaves the test out (or fails it, see `require`) where this machine cannot do it; RuntimeError if it should but
    did not. At the end everything is gone; if not, that is a RuntimeError, too.
    """
    bash = shutil.which("bash")
    require(part, bash is not None, "bash is not installed")
    directory = tempfile.mkdtemp(prefix="cachemgr-part-")
    command = [str(bash), str(script), "serve", directory, *arguments]
    with tempfile.TemporaryFile("w+") as said:
        # A session of its own: an interrupt from the keyboard is for us, who then end it in good order.
        with Popen(
            command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=said,
            text=True,
            env={**os.environ, **environ},
            start_new_session=True,
        ) as process:
            printed = _printed(process)
            if printed is not None:
                try:
                    yield printed
                finally:
                    _end(process)
        with suppress(OSError):  # what could not be taken away is for a person to see
            os.rmdir(directory)
        why = _read(said).rpartition("\n")[2].removeprefix(f"{script.stem}: ")
        require(part, process.returncode != _CANNOT_HERE, why)
        if process.returncode:
            raise RuntimeError(f"{part} failed: {_read(said)}")


def _printed(process: Popen[str]) -> dict[str, str] | None:
    """What it printed up to READY; None if it ended before."""
    printed: dict[str, str] = {}
    assert process.stdout is not None
    for line in process.stdout:
        if line == "READY\n":
            return printed
        name, _, value = line.rstrip("\n").partition("=")
        printed[name] = value
    return None


def _end(process: Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def _read(said: IO[str]) -> str:
    said.seek(0)
    return said.read().strip()
