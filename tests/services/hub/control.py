"""The hub's own controls over HTTP, for benchmarks and demonstrations in other processes.

`GET|DELETE /_control/requests?origin=&method=&path=&file=&agent=`, `POST|DELETE /_control/faults`,
`POST /_control/repos|commit` with JSON bodies; a file is `{"text"}`, `{"base64"}`, `{"size", "seed"}` or null.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict

from tests.services.hub.answers import as_json, refusal
from tests.services.hub.content import Generated
from tests.services.hub.faults import Fault, Faults
from tests.services.hub.journal import Journal, Selection
from tests.services.hub.repos import Given, Repos
from tests.services.hub.wire import Answer, Request


class Control:
    """Answers what is asked below `/_control/`."""

    def __init__(self, repos: Repos, faults: Faults, journal: Journal) -> None:
        self._repos = repos
        self._faults = faults
        self._journal = journal

    def answer(self, request: Request) -> Answer:
        """Do it, and say what came of it; raises Refused."""
        verb = (request.method, request.path.removeprefix("/_control/"))
        raw = json.loads(request.body or b"{}")
        match verb:
            case ("GET", "requests"):
                return self._requests(request)
            case ("DELETE", "requests"):
                self._journal.clear()
            case ("POST", "faults"):
                self._faults.add(Fault(**{**raw, "body": str(raw.get("body", "")).encode()}))
            case ("DELETE", "faults"):
                self._faults.clear()
            case ("POST", "repos"):
                flags = {flag: bool(raw.get(flag)) for flag in ("private", "gated")}
                return as_json({"sha": self._repos.add(raw["repo"], _given(raw["files"]), **flags)})
            case ("POST", "commit"):
                branch = raw.get("branch", "main")
                return as_json({"sha": self._repos.commit(raw["repo"], _given(raw["files"]), branch)})
            case _:
                raise refusal(404, "no such control")
        return as_json({})

    def _requests(self, request: Request) -> Answer:
        found = self._journal.requests(Selection(**request.query))
        told = [asdict(asked) for asked in found]
        return as_json({"count": len(found), "bytes": sum(asked.bytes for asked in found), "requests": told})


def _given(raw: Mapping[str, Mapping[str, object] | None]) -> dict[str, Given]:
    return {path: _content(about) for path, about in raw.items()}


def _content(about: Mapping[str, object] | None) -> Given:
    if about is None:
        return None
    if "text" in about:
        return str(about["text"])
    if "base64" in about:
        return base64.b64decode(str(about["base64"]))
    return Generated(int(str(about["size"])), int(str(about["seed"])))
