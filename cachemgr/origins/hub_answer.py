"""What the hub's client answered, trusted in nothing: a manifest, or one clear error."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cachemgr.domain.digest import Digest
from cachemgr.domain.errors import OriginUnavailable, Usage
from cachemgr.domain.manifest import Entry, Manifest
from cachemgr.domain.names import check_relative
from cachemgr.domain.ref import Ref
from cachemgr.origins.hub_fault import HubFault, Question, checked_token

_COMMIT = re.compile(r"[0-9a-f]{40}")
_MOST_FILES = 500_000


class HubAnswer:
    """Collects the lines about one ref; `manifest` is there once all of them arrived."""

    def __init__(self, ref: Ref, endpoint: str, token: str | None) -> None:
        self.token = token
        self._ref = ref
        self._endpoint = endpoint
        self._commit: str | None = None
        self._entries: list[Entry] = []
        self._done = False

    def take(self, line: Mapping[str, object]) -> None:
        """One line of the client; raises what it says went wrong, or what is wrong with it."""
        match line:
            case {"token": str() | None as token}:
                self.token = checked_token(token)
            case {"commit": commit}:
                self._commit = self._checked(commit)
            case {"file": dict() as file} if self._commit is not None and len(self._entries) < _MOST_FILES:
                self._entries.append(self._entry(file))
            case {"error": dict() as error}:
                raise HubFault.parse(error, self.token).for_people(self._question())
            case {"done": True}:
                self._done = True
            case _:
                raise self._nonsense(f"gave an answer that is not understood: {', '.join(line)}")

    def manifest(self) -> Manifest:
        """The whole revision; raises Usage if its names cannot stand beside each other."""
        if not self._done or self._commit is None:
            raise OriginUnavailable(f"the hub's client stopped in the middle of {self._ref}")
        return Manifest(self._ref.scheme, self._ref.name, self._commit, tuple(self._entries))

    def _checked(self, commit: object) -> str:
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            raise self._nonsense(f"names no commit for {self._ref}")
        if self._ref.fixed and commit != self._ref.revision:
            raise self._nonsense(f"answers {self._ref} with another commit")
        return commit

    def _entry(self, file: Mapping[str, object]) -> Entry:
        path, size, sha1, large = file.get("path"), file.get("size"), file.get("git_sha1"), file.get("large")
        if not isinstance(path, str):
            raise self._nonsense("lists a file without a name")
        check_relative(path)
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise self._nonsense(f"lists {path[:80]!r} without a valid size")
        if isinstance(large, Mapping):
            if large.get("size") != size:
                raise self._nonsense(f"lists two sizes for {path[:80]!r}")
            return self._named(path, size, "sha256", large.get("sha256"))
        return self._named(path, size, "git-sha1", sha1)

    def _named(self, path: str, size: int, algorithm: str, value: object) -> Entry:
        try:
            digest = Digest.parse(f"{algorithm}:{value}")
        except Usage as exc:
            raise self._nonsense(f"lists {path[:80]!r} without a valid {algorithm}") from exc
        return Entry(path, size, digest, digest.value)

    def _nonsense(self, what: str) -> OriginUnavailable:
        return OriginUnavailable(f"the hub at {self._endpoint} {what}", hint="is HF_ENDPOINT a model hub?")

    def _question(self) -> Question:
        return Question(self._ref, self._endpoint, self.token is not None)
