"""What the hub has: repositories with their commits and names, and who may read them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from tests.services.hub.content import Content, ContentStore, Generated, git_sha1

Given = bytes | str | Generated | Content | None
"""A file's new content; None deletes it."""

LARGE_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".ckpt", ".onnx", ".h5", ".msgpack", ".model", ".zip")
LARGE_BYTES = 10 << 20


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of one commit. `told_*` is what the hub says where that differs from the truth."""

    path: str
    content: Content
    large: bool
    told_size: int | None = None
    told_digest: str | None = None

    @property
    def size(self) -> int:
        """The size that the hub tells."""
        return self.content.size if self.told_size is None else self.told_size

    @property
    def etag(self) -> str:
        """What hub clients call the bytes: sha256 of a large file, git-sha1 of a small one."""
        return self.told_digest or (self.content.sha256 if self.large else self.content.git_sha1)

    @property
    def pointer(self) -> bytes:
        """What git holds in place of a large file."""
        return b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize %d\n" % (self.etag.encode(), self.size)

    @property
    def blob_id(self) -> str:
        """The object id in git: of the pointer if the file is large."""
        return git_sha1(self.pointer) if self.large else self.etag

    def tree_entry(self) -> dict[str, object]:
        """As the tree endpoint lists it."""
        entry: dict[str, object] = {"type": "file", "oid": self.blob_id, "size": self.size, "path": self.path}
        if self.large:
            entry["lfs"] = {"oid": self.etag, "size": self.size, "pointerSize": len(self.pointer)}
        return entry


@dataclass(frozen=True, slots=True)
class Commit:
    """One state of a repository."""

    sha: str
    files: Mapping[str, HubFile]


@dataclass(slots=True)
class Repo:
    """A repository: its commits, and the names that move between them."""

    name: str
    private: bool = False
    gated: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def find(self, revision: str) -> Commit | None:
        """The commit behind a branch, a tag or a commit's full name."""
        return self.commits.get(self.refs.get(revision, revision))

    def add(self, files: Mapping[str, HubFile], branch: str) -> Commit:
        """Make a commit of these files and move the branch to it."""
        seed = "\n".join([self.name, str(len(self.commits)), *(f"{f.path} {f.etag} {f.size}" for f in files.values())])
        sha = hashlib.sha1(seed.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
        commit = Commit(sha, files)
        self.commits[sha] = commit
        self.refs[branch] = sha
        return commit


@dataclass(frozen=True, slots=True)
class User:
    """Who a token belongs to, and which private and gated repositories they may read (`*`: all)."""

    name: str
    repos: frozenset[str]

    def may_read(self, repo: Repo) -> bool:
        """True if this user was let in."""
        return "*" in self.repos or repo.name in self.repos


class Repos:
    """All repositories and users; safe to change while requests are served."""

    def __init__(self, store: ContentStore) -> None:
        self.lock = threading.RLock()
        self._store = store
        self._repos: dict[str, Repo] = {}
        self._users: dict[str, User] = {}

    def add(self, name: str, files: Mapping[str, Given], *, private: bool = False, gated: bool = False) -> str:
        """Create a repository whose `main` has these files; returns the commit."""
        with self.lock:
            self._repos[name] = Repo(name, private, gated)
        return self.commit(name, files)

    def commit(self, name: str, changes: Mapping[str, Given], branch: str = "main") -> str:
        """Change files on a branch (a new branch starts from `main`); returns the new commit."""
        made = {path: self._file(path, given) for path, given in changes.items()}
        with self.lock:
            repo = self._repos[name]
            before = repo.find(branch) or repo.find("main")
            files = dict(before.files) if before else {}
            for path, file in made.items():
                files.pop(path, None) if file is None else files.update({path: file})
            return repo.add(dict(sorted(files.items())), branch).sha

    def _file(self, path: str, given: Given) -> HubFile | None:
        if given is None:
            return None
        content = self._store.get(given.encode() if isinstance(given, str) else given)
        return HubFile(path, content, path.endswith(LARGE_SUFFIXES) or content.size > LARGE_BYTES)

    def point(self, name: str, ref: str, commit: str) -> None:
        """Let a branch, a tag or `refs/pr/1` name this commit."""
        with self.lock:
            self._repos[name].refs[ref] = commit

    def lie(self, name: str, path: str, *, size: int | None = None, digest: str | None = None) -> None:
        """Let every commit's manifest promise another size or digest for a file than its bytes have."""
        with self.lock:
            for commit in (repo := self._repos[name]).commits.values():
                if path in commit.files:
                    told = replace(commit.files[path], told_size=size, told_digest=digest)
                    repo.commits[commit.sha] = replace(commit, files={**commit.files, path: told})

    def grant(self, token: str, user: str, repos: Iterable[str] = ()) -> None:
        """Make a token valid, for these private and gated repositories."""
        with self.lock:
            self._users[token] = User(user, frozenset(repos))

    def user(self, token: str) -> User | None:
        """Who the token belongs to."""
        with self.lock:
            return self._users.get(token)

    def find(self, name: str) -> Repo | None:
        """The repository of that name."""
        with self.lock:
            return self._repos.get(name)

    def get(self, name: str) -> Repo:
        """The repository of that name; KeyError."""
        with self.lock:
            return self._repos[name]
