"""The program that asks a hub with the real `huggingface_hub`: one request on stdin, JSON lines on stdout.

It runs in a process of its own because the library reads its environment at import, blocks, and takes memory. Started
by its path, it imports nothing of ours. The request `{verb, endpoint, token, repo, revision, library, version}` and
the answers (`{"token"}`, `{"commit"}`, `{"file"}`..., then `{"done"}` or `{"error"}`) travel through pipes only:
arguments and environment can be read by others. Nothing here reads or writes the library's cache.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, TypedDict

import httpx2  # what huggingface_hub itself uses; its errors are part of that library's interface
from huggingface_hub import HfApi, constants, get_token, set_client_factory
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented, but not marked as re-exported
    hf_raise_for_status,
    parse_ratelimit_headers,
)

_PR_SET_PDEATHSIG = 1
_PAUSES = (0.2, 0.8)
_CONNECT_SECONDS = 10.0


class Request(TypedDict):
    """What is asked; `verb` is `resolve`, or `token` for the lookup of the token alone."""

    verb: str
    endpoint: str
    token: str | None
    repo: str
    revision: str
    library: str
    version: str


class Unreachable(Exception):
    """The hub does not answer, or breaks off."""


class Elsewhere(Exception):
    """The hub refers us to another origin, which the token and our trust are not for."""


class OneOriginClient(httpx2.Client):
    """Speaks to the hub's own origin only, and is the only place where a request is tried again.

    An answer that broke off and a 5xx are asked for once more or twice, quickly; everything else is final at once. The
    library would wait through five retries, and for as long as a rate limit says: here nobody would know why.
    """

    def __init__(self, endpoint: str) -> None:
        timeout = httpx2.Timeout(float(constants.HF_HUB_DOWNLOAD_TIMEOUT), connect=_CONNECT_SECONDS)
        super().__init__(follow_redirects=True, timeout=timeout, event_hooks={"request": [self._check]})
        self._origin = httpx2.URL(endpoint).origin

    def _check(self, request: httpx2.Request) -> None:
        if request.url.origin != self._origin:
            raise Elsewhere(f"{request.url.scheme}://{request.url.netloc.decode()}")

    # The library chooses these arguments; they are passed on as they are.
    def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:
        """One answer; raises Unreachable, Elsewhere, or what the library makes of 408, 429 and 5xx."""
        # The library asks for no timeout at all where its caller gives none.
        request.extensions = {**request.extensions, "timeout": self.timeout.as_dict()}
        for pause in (*_PAUSES, None):
            try:
                response = super().send(request, **kwargs)
            except (httpx2.ReadError, httpx2.RemoteProtocolError) as exc:
                if pause is None:
                    raise Unreachable(f"its answer broke off: {exc}") from exc
            except httpx2.TransportError as exc:
                raise Unreachable(f"{type(exc).__name__}: {exc}") from exc
            else:
                if response.status_code < 500 or pause is None:
                    break
            time.sleep(pause)
        if response.status_code in (408, 429) or response.status_code >= 500:
            hf_raise_for_status(response)
        return response


class Answers:
    """Writes to the pipe that was our stdout; whatever the library prints goes nowhere."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="ascii")
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)

    def say(self, **line: object) -> None:
        """Write one line; seen by the parent after `flush`."""
        self._out.write(json.dumps(line) + "\n")

    def flush(self) -> None:
        """Hand over what was said."""
        self._out.flush()

    def died(self, kind: type[BaseException], exc: BaseException, trace: TracebackType | None) -> None:
        """Report what nobody foresaw; an excepthook."""
        self.say(error={"kind": "broken", "status": None, "text": f"{kind.__name__}: {exc}", "wait_seconds": None})
        self.flush()


def main() -> None:
    """Answer the request on stdin."""
    end_with_parent()
    answers = Answers()
    sys.excepthook = answers.died
    request: Request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_watch_parent, daemon=True).start()
    token = _token(request)
    answers.say(token=token)
    if request["verb"] == "resolve":
        set_client_factory(lambda: OneOriginClient(request["endpoint"]))
        try:
            for line in resolve(request, token):
                answers.say(**line)
                answers.flush()
        except (HfHubHTTPError, httpx2.HTTPError, httpx2.InvalidURL, Unreachable, Elsewhere) as exc:
            answers.say(error=described(exc))
        except (ValueError, TypeError, LookupError, AttributeError, AssertionError) as exc:
            answers.say(error=misunderstood(exc))
    answers.say(done=True)
    answers.flush()


def end_with_parent() -> None:
    """Die with the process that started us, kill -9 included; leave no core file, which would hold the token."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch_parent() -> None:
    # The parent keeps our stdin open as long as it wants the answer. This also covers a parent that died before
    # prctl, and systems that have none. A raw read: the buffered reader's lock would block the interpreter's end.
    while os.read(0, 4096):
        pass
    os._exit(1)


def _token(request: Request) -> str | None:
    if request["token"] is not None or constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return request["token"]
    return get_token()


def resolve(request: Request, token: str | None) -> Iterator[dict[str, object]]:
    """The commit behind a revision, then every file of that commit; raises what the library raises."""
    repo = request["repo"]
    api = HfApi(
        endpoint=request["endpoint"],
        token=token if token is not None else False,
        library_name=request["library"],
        library_version=request["version"],
        headers={"Cache-Control": "no-cache"},  # a proxy between us and the hub must not answer with an old commit
    )
    info = api.model_info(repo, revision=request["revision"])
    if info.gated:
        _check_access(api, repo)
    yield {"commit": info.sha}
    for file in api.list_repo_tree(repo, revision=info.sha, recursive=True):
        if isinstance(file, RepoFile):
            large = {"sha256": file.lfs.sha256, "size": file.lfs.size} if file.lfs else None
            yield {"file": {"path": file.path, "size": file.size, "git_sha1": file.blob_id, "large": large}}


def _check_access(api: HfApi, repo: str) -> None:
    # A gated repository lists its files to everybody and refuses their bytes: say so before the first of them.
    try:
        api.auth_check(repo)
    except HfHubHTTPError as exc:
        # A mirror that does not know this question is no reason to fail.
        if isinstance(exc, GatedRepoError) or exc.response.status_code in (401, 403):
            raise


def described(exc: Exception) -> dict[str, object]:
    """An error for the parent: `{kind, status, text, wait_seconds}`."""
    if not isinstance(exc, HfHubHTTPError):
        kind = "elsewhere" if isinstance(exc, Elsewhere) else "unreachable"
        text = str(exc) if isinstance(exc, (Elsewhere, Unreachable)) else f"{type(exc).__name__}: {exc}"
        return {"kind": kind, "status": None, "text": text, "wait_seconds": None}
    kinds = ((GatedRepoError, "gated"), (RepositoryNotFoundError, "no_repo"), (RevisionNotFoundError, "no_revision"))
    kind = next((kind for error, kind in kinds if isinstance(exc, error)), "status")
    return {
        "kind": kind,
        "status": exc.response.status_code,
        "text": exc.server_message or "",
        "wait_seconds": _wait_seconds(exc.response),
    }


def misunderstood(exc: Exception) -> dict[str, object]:
    """The same for what the library raises when a name is bad, or an answer is no JSON, or JSON of another shape."""
    kind = "bad_name" if isinstance(exc, HFValidationError) else "nonsense"
    return {"kind": kind, "status": None, "text": f"{type(exc).__name__}: {exc}", "wait_seconds": None}


def _wait_seconds(response: httpx2.Response) -> int | None:
    limit = parse_ratelimit_headers(response.headers)
    if limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds
    after = response.headers.get("Retry-After", "")
    return int(after) if after.isdecimal() else None


if __name__ == "__main__":
    main()
