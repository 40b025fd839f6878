"""The hub as a whole: two origins, their repositories, faults and journal, in this process."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.services.hub.api import Api, Options
from tests.services.hub.cdn import Cdn, Signer
from tests.services.hub.content import ContentStore
from tests.services.hub.control import Control
from tests.services.hub.faults import Fault, Faults
from tests.services.hub.journal import Asked, Journal, Selection
from tests.services.hub.origin import Origin
from tests.services.hub.repos import Given, Repos
from tests.services.hub.wire import Answer, Request

TOKEN = "hf_" + "r" * 34
"""A token that may read every repository."""


class Hub:
    """A running hub: `url` is what HF_ENDPOINT should say, `cdn_url` where large files are."""

    def __init__(self, root: Path, *, host: str = "127.0.0.1", port: int = 0, link_seconds: float = 3600) -> None:
        self.repos = Repos(ContentStore(root))
        self.faults = Faults()
        self.journal = Journal()
        self.options = Options()
        self.signer = Signer(link_seconds)
        self.token = TOKEN
        self.grant(TOKEN, "reader", "*")
        self._api = Api(self.repos, self.signer, self.options)
        self._control = Control(self.repos, self.faults, self.journal)
        self._cdn = Origin("cdn", Cdn(self.signer).answer, self.faults, self.journal, host, 0)
        self.signer.url = self._cdn.url
        self._hub = Origin("hub", self._respond, self.faults, self.journal, host, port)

    @property
    def url(self) -> str:
        """The hub's address."""
        return self._hub.url

    @property
    def cdn_url(self) -> str:
        """The second origin's address."""
        return self._cdn.url

    def _respond(self, request: Request) -> Answer:
        if request.path.startswith("/_control/"):
            return self._control.answer(request)
        return self._api.answer(request)

    def add_repo(self, name: str, files: Mapping[str, Given], *, private: bool = False, gated: bool = False) -> str:
        """Create a repository (or replace it); returns the commit of `main`."""
        return self.repos.add(name, files, private=private, gated=gated)

    def commit(self, name: str, changes: Mapping[str, Given], branch: str = "main") -> str:
        """Change files (None deletes one); returns the new commit."""
        return self.repos.commit(name, changes, branch)

    def lie(self, name: str, path: str, *, size: int | None = None, digest: str | None = None) -> None:
        """Let the manifest promise what the bytes are not."""
        self.repos.lie(name, path, size=size, digest=digest)

    def grant(self, token: str, user: str, repos: Iterable[str] = ()) -> None:
        """Make a token valid; it may read these private and gated repositories besides all public ones."""
        self.repos.grant(token, user, repos)

    def fault(self, fault: Fault) -> Fault:
        """Let something go wrong, see `faults.Fault`."""
        return self.faults.add(fault)

    def requests(
        self,
        *,
        origin: str | None = None,
        method: str | None = None,
        path: str | None = None,
        file: str | None = None,
        agent: str | None = None,
    ) -> list[Asked]:
        """The requests that match these shell patterns; `file` is `repo/path`."""
        return self.journal.requests(Selection(origin, method, path, file, agent))

    def count(self, file: str | None = None, method: str = "GET") -> int:
        """How many requests for a file (any origin), by pattern."""
        return len(self.requests(method=method, file=file))

    def bytes(self, file: str | None = None) -> int:
        """How many bytes of bodies left for a file, by pattern."""
        return sum(asked.bytes for asked in self.requests(file=file))

    def close(self) -> None:
        """Stop both origins."""
        self.faults.clear()
        self._hub.close()
        self._cdn.close()


@contextmanager
def hub_server(root: Path | None = None, *, port: int = 0, link_seconds: float = 3600) -> Iterator[Hub]:
    """A hub for the duration of a block; generated files are kept below `root` if it is given."""
    with tempfile.TemporaryDirectory(prefix="hub-") as fresh:
        hub = Hub(root or Path(fresh), port=port, link_seconds=link_seconds)
        try:
            yield hub
        finally:
            hub.close()
