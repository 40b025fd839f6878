"""The Hugging Face Hub, or whatever speaks its protocol at `HF_ENDPOINT`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from cachemgr import __version__
from cachemgr.domain.errors import Usage
from cachemgr.domain.manifest import Entry, Manifest
from cachemgr.domain.ref import Ref
from cachemgr.moving.remote import Remote, Request
from cachemgr.origins.child import Child
from cachemgr.origins.hub_answer import HubAnswer
from cachemgr.origins.hub_fault import checked_token

log = logging.getLogger(__name__)

PROGRAM = Path(__file__).with_name("hub_child.py")
"""What the `Child` of a HubOrigin runs."""

_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
# Offline mode is meant for the command that reads what we fetched; the rest would make the child write or talk.
_NOT_FOR_CHILD = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DEBUG", "HF_HUB_USER_AGENT_ORIGIN")
_FOR_CHILD = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_VERBOSITY": "error"}


class HubOrigin:
    """Resolves refs by asking `endpoint` each time, and says how their files are asked for.

    Without a `token` the hub library's own lookup decides (its token file, a trusted publisher's identity). The token
    goes to the endpoint's own origin and nowhere else. `environ` is what the child process starts with.
    """

    scheme = "hf"

    def __init__(
        self, endpoint: str, token: str | None, environ: Mapping[str, str], child: Child | None = None
    ) -> None:
        self._endpoint = _checked(endpoint)
        self._given = checked_token(token.strip() or None if token else None)
        self._found: tuple[str | None] | None = None
        self._lookup = threading.Lock()
        self._environ = _child_environ(environ, self._endpoint, hide_token=self._given is not None)
        self._child = child or Child(PROGRAM)

    async def resolve(self, ref: Ref) -> Manifest:
        """What `ref` is right now, as a whole revision: never an answer of yesterday.

        Raises NotFound, Unauthorized, OriginUnavailable, or Usage if the hub lists names that cannot be stored.
        """
        answer = HubAnswer(ref.whole, self._endpoint, self._given)
        await self._child.ask(self._request("resolve", ref), self._environ, answer.take)
        self._found = (answer.token,)
        manifest = answer.manifest()
        log.info("ref resolved", extra={"ref": str(ref), "revision": manifest.revision, "files": len(manifest.files)})
        return manifest

    def remote(self, manifest: Manifest, entry: Entry) -> Remote:
        """Where the bytes of one file are: redirects of large files to other origins are to be followed."""
        path = f"{manifest.name}/resolve/{manifest.revision}/{entry.path}"
        url = f"{self._endpoint}/{quote(path)}"
        return Remote(entry.size, lambda: self._sign(url), follow_redirects=True)

    def _sign(self, url: str) -> Request:
        headers = {"User-Agent": f"cachemgr/{__version__}", "Accept-Encoding": "identity"}
        token = self._token()
        return Request(url, headers if token is None else {**headers, "Authorization": f"Bearer {token}"})

    def _token(self) -> str | None:
        """The token; looked up in this (data) thread if no ref was resolved since the start."""
        if self._given is not None:
            return self._given
        with self._lookup:
            if self._found is None:
                ref = Ref(self.scheme, "none", "main")
                answer = HubAnswer(ref, self._endpoint, None)
                self._child.ask_blocking(self._request("token", ref), self._environ, answer.take)
                self._found = (answer.token,)
            return self._found[0]

    def _request(self, verb: str, ref: Ref) -> dict[str, object]:
        return {
            "verb": verb,
            "endpoint": self._endpoint,
            "token": self._given,
            "repo": ref.name,
            "revision": ref.revision,
            "library": "cachemgr",
            "version": __version__,
        }


def _checked(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise Usage(f"HF_ENDPOINT is no address of a hub: {endpoint.partition('?')[0][:120]!r}")
    if parts.username or parts.password:
        raise Usage("HF_ENDPOINT must not contain credentials", hint="set HF_TOKEN")
    return endpoint.rstrip("/")


def _child_environ(environ: Mapping[str, str], endpoint: str, *, hide_token: bool) -> dict[str, str]:
    # A token that we hand over through the pipe has no business in one more environment.
    dropped = {*_NOT_FOR_CHILD, *(_TOKENS if hide_token else ())}
    kept = {name: value for name, value in environ.items() if name not in dropped}
    return {**kept, **_FOR_CHILD, "HF_ENDPOINT": endpoint}
