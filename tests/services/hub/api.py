"""The hub's endpoints: what a repository is, what is in it, and where its files are."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, urlencode

from tests.services.hub.answers import as_json, file_answer, refusal
from tests.services.hub.cdn import Signer
from tests.services.hub.repos import Commit, HubFile, Repo, Repos, User
from tests.services.hub.wire import Answer, Request

_DATE = "2026-01-01T00:00:00.000Z"
_BELOW_REPO = frozenset({"revision", "tree", "paths-info", "auth-check", "refs", "resolve"})
_EXPANDED_PAGE = 50


@dataclass(slots=True)
class Options:
    """What can be set while the hub runs: entries per page of a tree, and whether small files are redirected, too."""

    page_size: int = 1000
    redirect_small: bool = False


class Api:
    """Answers every request to the hub's own origin."""

    def __init__(self, repos: Repos, signer: Signer, options: Options) -> None:
        self._repos = repos
        self._signer = signer
        self._options = options

    def answer(self, request: Request) -> Answer:
        """The answer; raises Refused."""
        parts = request.parts
        if parts[:2] == ["api", "models"]:
            return self._model(request, parts[2:])
        if parts[:3] == ["api", "resolve-cache", "models"]:
            name, _, (revision, *path) = split_repo([*parts[3:5], "resolve", *parts[5:]])
            return self._small(request, *self._locate(request, name, revision, "/".join(path)))
        if parts == ["api", "whoami-v2"]:
            return self._whoami(request)
        if parts == ["api", "agent-harnesses"]:
            return as_json({"standardEnvVars": [], "harnesses": {}})
        if "resolve" in parts[1:3]:
            return self._resolve(request, parts)
        raise refusal(404, "Not Found")

    def _user(self, request: Request) -> User | None:
        if request.token is None:
            return None
        user = self._repos.user(request.token)
        if user is None:
            raise refusal(401, "Invalid credentials in Authorization header")
        return user

    def _whoami(self, request: Request) -> Answer:
        user = self._user(request)
        if user is None:
            raise refusal(401, "Invalid username or password.")
        token = {"displayName": "test", "role": "read", "createdAt": _DATE}
        about = {"type": "user", "id": "0" * 24, "name": user.name, "fullname": user.name, "orgs": []}
        return as_json({**about, "auth": {"type": "access_token", "accessToken": token}})

    def _repo(self, request: Request, name: str, *, content: bool) -> Repo:
        user, repo = self._user(request), self._repos.find(name)
        if repo is None or (repo.private and not (user and user.may_read(repo))):
            # Who may not see a repository is not told that it exists.
            status, message = (404, "Repository not found") if user else (401, "Invalid username or password.")
            raise refusal(status, message, "RepoNotFound")
        if content and repo.gated and not (user and user.may_read(repo)):
            text = f"Access to model {name} is restricted"
            more = " and you are not in the authorized list." if user else ". You must be authenticated to access it."
            raise refusal(403 if user else 401, text + more, "GatedRepo")
        return repo

    def _model(self, request: Request, parts: list[str]) -> Answer:
        name, verb, rest = split_repo(parts)
        repo = self._repo(request, name, content=verb == "auth-check")
        if verb == "auth-check":
            return as_json({"message": "OK"})
        if verb == "refs":
            return as_json(_refs(repo))
        commit = _commit(repo, rest[0] if rest else "main")
        answers: dict[str | None, Callable[[], Answer]] = {
            None: lambda: as_json(_info(repo, commit, request)),
            "revision": lambda: as_json(_info(repo, commit, request)),
            "tree": lambda: self._tree(request, commit, "/".join(rest[1:])),
            "paths-info": lambda: as_json(_paths_info(commit, request)),
        }
        return answers[verb]()

    def _tree(self, request: Request, commit: Commit, below: str) -> Answer:
        query = request.query
        expand = query.get("expand", "").lower() == "true"
        entries = _entries(commit, below, recursive=query.get("recursive", "").lower() == "true")
        if below and not entries:
            raise refusal(404, f"{below} does not exist on this revision", "EntryNotFound")
        size = min(int(query.get("limit", self._options.page_size)), _EXPANDED_PAGE if expand else 1 << 30)
        start = int(base64.b64decode(query["cursor"])) if "cursor" in query else 0
        page = entries[start : start + size]
        if expand:
            last = {"id": commit.sha, "title": "a change", "date": _DATE}
            page = [{**entry, "lastCommit": last} for entry in page]
        answer = as_json(page, X_Total_Count=str(len(entries)))
        if start + size < len(entries):
            following = {**query, "limit": str(size), "cursor": base64.b64encode(b"%d" % (start + size)).decode()}
            url = f"http://{request.headers['host']}{request.path}?{urlencode(following)}"
            answer.headers["Link"] = f'<{url}>; rel="next"'
        return answer

    def _resolve(self, request: Request, parts: list[str]) -> Answer:
        name, _, (revision, *path) = split_repo(parts)
        commit, file = self._locate(request, name, revision, "/".join(path))
        linked = {"X-Repo-Commit": commit.sha, "X-Linked-Size": str(file.size), "X-Linked-ETag": f'"{file.etag}"'}
        if file.large:
            url = self._signer.link(name, file)
            return Answer(302, {"Location": url, "Accept-Ranges": "bytes", **linked}, b"Found. Redirecting to the file")
        if self._options.redirect_small:
            where = quote(f"/api/resolve-cache/models/{name}/{commit.sha}/{file.path}")
            return Answer(
                307, {"Location": f"{where}?{urlencode({'etag': file.etag})}", **linked}, b"Temporary Redirect"
            )
        return self._small(request, commit, file)

    def _locate(self, request: Request, name: str, revision: str, path: str) -> tuple[Commit, HubFile]:
        commit = _commit(self._repo(request, name, content=True), revision)
        if path not in commit.files:
            raise refusal(404, "Entry not found", "EntryNotFound", commit.sha)
        return commit, commit.files[path]

    def _small(self, request: Request, commit: Commit, file: HubFile) -> Answer:
        name = quote(file.path.rsplit("/", 1)[-1])
        disposition = f"inline; filename*=UTF-8''{name}; filename=\"{name}\";"
        headers = {"X-Repo-Commit": commit.sha, "Content-Disposition": disposition}
        return file_answer(request, file.content, file.etag, headers)


def split_repo(parts: list[str]) -> tuple[str, str | None, list[str]]:
    """`[org, name, verb, ...]` or `[name, verb, ...]` -> (repository, verb, rest)."""
    count = 1 if len(parts) < 2 or parts[1] in _BELOW_REPO else 2
    verb = parts[count] if len(parts) > count else None
    if verb is not None and verb not in _BELOW_REPO:
        raise refusal(404, "Not Found")
    return "/".join(parts[:count]), verb, parts[count + 1 :]


def _commit(repo: Repo, revision: str) -> Commit:
    commit = repo.find(revision)
    if commit is None:
        raise refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return commit


def _refs(repo: Repo) -> dict[str, object]:
    branches = {name: sha for name, sha in repo.refs.items() if not name.startswith("refs/")}
    named = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": sha} for name, sha in branches.items()]
    return {"branches": named, "converts": [], "tags": []}


def _info(repo: Repo, commit: Commit, request: Request) -> dict[str, object]:
    blobs = request.query.get("blobs", "").lower() == "true"
    info: dict[str, object] = {
        "_id": "0" * 24,
        "id": repo.name,
        "modelId": repo.name,
        "author": repo.name.split("/")[0],
        "sha": commit.sha,
        "lastModified": _DATE,
        "createdAt": _DATE,
        "private": repo.private,
        "gated": "auto" if repo.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": [_sibling(file, blobs=blobs) for file in commit.files.values()],
    }
    wanted = request.query_lists.get("expand")
    return info if wanted is None else {name: info[name] for name in ("_id", "id", *wanted) if name in info}


def _sibling(file: HubFile, *, blobs: bool) -> dict[str, object]:
    about: dict[str, object] = {"rfilename": file.path}
    if blobs:
        about |= {"size": file.size, "blobId": file.blob_id}
        if file.large:
            about["lfs"] = {"sha256": file.etag, "size": file.size, "pointerSize": len(file.pointer)}
    return about


def _paths_info(commit: Commit, request: Request) -> list[dict[str, object]]:
    if "json" in request.headers.get("content-type", ""):
        wanted = json.loads(request.body)["paths"]
    else:
        wanted = parse_qs(request.body.decode()).get("paths", [])
    return [entry for entry in _entries(commit, "", recursive=True) if entry["path"] in wanted]


def _entries(commit: Commit, below: str, *, recursive: bool) -> list[dict[str, object]]:
    prefix = f"{below}/" if below else ""
    found: dict[str, dict[str, object]] = {}
    for path, file in commit.files.items():
        if not path.startswith(prefix):
            continue
        folders = path.split("/")[:-1]
        for depth in range(len(folders)):
            folder = "/".join(folders[: depth + 1])
            if folder.startswith(prefix) and folder + "/" != prefix:
                found.setdefault(folder, {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder})
        found[path] = file.tree_entry()
    direct = [entry for path, entry in found.items() if recursive or "/" not in path[len(prefix) :]]
    return sorted(direct, key=lambda entry: str(entry["path"]))
