"""A child process for one request: JSON lines in and out, killed with whoever waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from pathlib import Path

from cachemgr.aio.iopool import until_done
from cachemgr.domain.errors import OriginUnavailable

_LINE_BYTES = 1 << 20
_SILENCE_SECONDS = 60.0
_AT_ONCE = 4

Take = Callable[[Mapping[str, object]], None]
"""Gets each line of the answer; what it raises ends the child."""


class Child:
    """Runs a program of ours per request, at most four at a time.

    The request goes through a pipe, never through arguments or environment. The child is killed when its caller is
    cancelled or fails, when it is silent for too long, and (by itself) when this process ends.
    """

    def __init__(self, program: Path, silence_seconds: float = _SILENCE_SECONDS) -> None:
        # -P: a file named `huggingface_hub.py` in the working directory must not run in place of the library.
        self._command = (sys.executable, "-P", str(program))
        self._silence_seconds = silence_seconds
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def ask(self, request: Mapping[str, object], environ: Mapping[str, str], take: Take) -> None:
        """Hand each line of the answer to `take`, to the last; raises OriginUnavailable if the child fails."""
        async with self._turn:
            process = await self._start(environ)
            try:
                await self._converse(process, request, take)
            finally:
                await _end(process)

    def ask_blocking(self, request: Mapping[str, object], environ: Mapping[str, str], take: Take) -> None:
        """The same, for callers in threads of their own."""
        with self._start_blocking(environ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            timer = threading.Timer(self._silence_seconds, process.kill)
            timer.start()
            try:
                with contextlib.suppress(ConnectionError):
                    process.stdin.write(_encoded(request))
                for line in process.stdout:
                    take(_decoded(line))
                if process.wait():
                    raise _failed(process.returncode, process.stderr.read())
            finally:
                timer.cancel()
                process.kill()

    def _start_blocking(self, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        try:
            # Unbuffered: a request that the child did not live to read must not be sent again when its pipe is closed.
            return subprocess.Popen(
                self._command, bufsize=0, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environ, start_new_session=True
            )
        except OSError as exc:
            raise _unstarted(exc) from exc

    async def _start(self, environ: Mapping[str, str]) -> Process:
        try:
            return await asyncio.create_subprocess_exec(
                *self._command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env=environ,
                limit=_LINE_BYTES,
                start_new_session=True,  # a Ctrl-C in the terminal is for us to act on, not for the child
            )
        except OSError as exc:
            raise _unstarted(exc) from exc

    async def _converse(self, process: Process, request: Mapping[str, object], take: Take) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        # stdin stays open: its end tells the child that nobody waits any more.
        with contextlib.suppress(ConnectionError):
            process.stdin.write(_encoded(request))
            await process.stdin.drain()
        while line := await self._line(process.stdout):
            take(_decoded(line))
        if await process.wait():
            assert process.stderr is not None
            raise _failed(process.returncode, await process.stderr.read())

    async def _line(self, stdout: asyncio.StreamReader) -> bytes:
        try:
            async with asyncio.timeout(self._silence_seconds):
                return await stdout.readline()
        except TimeoutError as exc:
            raise OriginUnavailable(f"the hub's client said nothing for {self._silence_seconds:.0f} s") from exc
        except ValueError as exc:  # how a StreamReader says that a line is longer than its limit
            raise OriginUnavailable("the hub's client gave an answer that is too long") from exc


async def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    ended = asyncio.ensure_future(process.communicate())
    try:
        await asyncio.shield(ended)
    except asyncio.CancelledError:
        # A killed process is gone in an instant; until then its pipes are ours, however often we are cancelled.
        await until_done(ended)
        raise


def _encoded(request: Mapping[str, object]) -> bytes:
    return json.dumps(request).encode() + b"\n"


def _decoded(line: bytes) -> Mapping[str, object]:
    try:
        answer = json.loads(line)
    except ValueError as exc:
        raise OriginUnavailable("the hub's client gave an answer that is no JSON") from exc
    if not isinstance(answer, dict):
        raise OriginUnavailable("the hub's client gave an answer that is no object")
    return answer


def _unstarted(exc: OSError) -> OriginUnavailable:
    return OriginUnavailable(f"the hub's client could not be started: {exc.strerror}")


def _failed(code: int | None, stderr: bytes) -> OriginUnavailable:
    # Only an interpreter that could not start our program writes here; the program itself has no stderr.
    last = stderr.decode(errors="replace").strip().rpartition("\n")[2][:200]
    return OriginUnavailable(f"the hub's client ended with code {code}: {last}", hint="is huggingface_hub installed?")
