"""What a ref at the hub is: the real client against a real server, and an error with a name for everything else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from cachemgr.domain.digest import Digest
from cachemgr.domain.errors import NotFound, OriginUnavailable, Unauthorized, Usage
from cachemgr.domain.ref import Ref
from cachemgr.origins.hub import HubOrigin
from tests.origins.conftest import MakeOrigin
from tests.services.hub.faults import Fault
from tests.services.hub.models import model_m20
from tests.services.hub.repos import Given
from tests.services.hub.server import Hub

REF = Ref.parse("hf://acme/m")
SECRET = "hf_" + "s" * 34
INFO = "/api/models/acme/m/revision/main"
TREE = "/api/models/acme/m/tree/*"


async def test_a_manifest_names_large_files_by_sha256_and_small_ones_by_git_sha1(hub: Hub, origin: HubOrigin) -> None:
    weights = b"w" * 5000
    commit = hub.add_repo("acme/m", {"sub/dir/config.json": b"{}", "model.safetensors": weights})
    manifest = await origin.resolve(REF)
    assert (manifest.id, manifest.revision, manifest.bytes) == (f"hf--acme--m--{commit}", commit, 5002)
    model, config = sorted(manifest.files, key=lambda entry: entry.path)
    assert (model.path, model.size, model.digest) == (
        "model.safetensors",
        5000,
        Digest.sha256(hashlib.sha256(weights).hexdigest()),
    )
    assert config.path == "sub/dir/config.json"
    assert config.digest == Digest("git-sha1", hashlib.sha1(b"blob 2\0{}").hexdigest())
    assert [entry.etag for entry in (model, config)] == [model.digest.value, config.digest.value]


async def test_twenty_files_of_a_realistic_model(hub: Hub, origin: HubOrigin) -> None:
    hub.add_repo("acme/m", model_m20(scale=0.001))
    manifest = await origin.resolve(REF)
    assert len(manifest.files) == 20
    assert {asked.agent.partition(";")[0] for asked in hub.requests(path="/api/models/*")} == {"cachemgr/0.1.0"}
    assert not hub.requests(path="/api/agent-harnesses"), "the child tells nobody who runs it"


@pytest.mark.parametrize("revision", ["v1.0", "refs/pr/1", "with/slash"])
async def test_branches_tags_and_commits_are_revisions(hub: Hub, origin: HubOrigin, revision: str) -> None:
    first = hub.add_repo("acme/m", {"a": b"1"})
    second = hub.commit("acme/m", {"a": b"2"})
    hub.repos.point("acme/m", revision, first)
    assert (await origin.resolve(REF.at(revision))).revision == first
    assert (await origin.resolve(REF.at(first))).revision == first
    assert (await origin.resolve(REF)).revision == second


async def test_more_files_than_a_page_holds(hub: Hub, origin: HubOrigin) -> None:
    hub.add_repo("acme/m", {f"{n % 7}/{n:05}.txt": f"{n}" for n in range(2345)})
    manifest = await origin.resolve(REF)
    assert len(manifest.files) == 2345
    assert len(hub.requests(path=TREE)) == 3


async def test_an_empty_file_and_a_name_with_all_that_is_allowed(hub: Hub, origin: HubOrigin) -> None:
    names = ["empty", "with space", "ünï/çødé", "100%.txt", "a?b#c&d=e", "q\"uote'", "back\\slash", "x" * 255]
    hub.add_repo("acme/m", {name: b"" for name in names})
    manifest = await origin.resolve(REF)
    assert {entry.path for entry in manifest.files} == set(names)
    assert all(entry.size == 0 for entry in manifest.files)


async def test_a_commit_that_moves_meanwhile_is_not_mixed_with_its_successor(hub: Hub, origin: HubOrigin) -> None:
    first = hub.add_repo("acme/m", {"old": b"1"})
    hub.fault(Fault("then", TREE, action=lambda: hub.commit("acme/m", {"old": None, "new": b"2"})))
    manifest = await origin.resolve(REF)
    assert (manifest.revision, [entry.path for entry in manifest.files]) == (first, ["old"])


async def test_every_resolve_asks_again(hub: Hub, origin: HubOrigin) -> None:
    hub.add_repo("acme/m", {"a": b"1"})
    before = await origin.resolve(REF)
    hub.commit("acme/m", {"a": b"2"})
    assert (await origin.resolve(REF)).revision != before.revision


async def test_unknown_repository(hub: Hub, origin: HubOrigin) -> None:
    with pytest.raises(NotFound, match=r"no repository acme/m, or it is private and no token was given"):
        await origin.resolve(REF)


async def test_unknown_revision(hub: Hub, origin: HubOrigin) -> None:
    hub.add_repo("acme/m", {"a": b"1"})
    with pytest.raises(NotFound, match="acme/m has no revision 'v9'"):
        await origin.resolve(REF.at("v9"))


async def test_unknown_commit(hub: Hub, origin: HubOrigin) -> None:
    hub.add_repo("acme/m", {"a": b"1"})
    with pytest.raises(NotFound, match="no revision"):
        await origin.resolve(REF.at("0" * 40))


async def test_private_repository_with_and_without_the_right(hub: Hub, make_origin: MakeOrigin) -> None:
    hub.add_repo("acme/m", {"a": b"1"}, private=True)
    hub.grant(SECRET, "somebody")
    with pytest.raises(NotFound, match="or it is private and no token was given") as caught:
        await make_origin().resolve(REF)
    assert "HF_TOKEN" in caught.value.hint
    with pytest.raises(NotFound, match="or the token may not read it"):
        await make_origin(SECRET).resolve(REF)
    hub.grant(SECRET, "somebody", ["acme/m"])
    assert len((await make_origin(SECRET).resolve(REF)).files) == 1


async def test_gated_repository_is_refused_before_its_first_byte(hub: Hub, make_origin: MakeOrigin) -> None:
    hub.add_repo("acme/m", {"a": b"1"}, gated=True)
    hub.grant(SECRET, "somebody")
    with pytest.raises(Unauthorized, match="acme/m is gated and no token was given") as caught:
        await make_origin().resolve(REF)
    assert f"ask for access at {hub.url}/acme/m, then set HF_TOKEN" in caught.value.hint
    with pytest.raises(Unauthorized, match="the owner of the token was not let in"):
        await make_origin(SECRET).resolve(REF)
    hub.grant(SECRET, "somebody", ["acme/m"])
    assert len((await make_origin(SECRET).resolve(REF)).files) == 1


async def test_a_gated_repository_behind_a_mirror_that_cannot_be_asked(hub: Hub, make_origin: MakeOrigin) -> None:
    hub.add_repo("acme/m", {"a": b"1"}, gated=True)
    hub.fault(Fault("status", "*/auth-check", status=404))
    assert len((await make_origin().resolve(REF)).files) == 1


async def test_bad_token_even_for_a_public_repository(hub: Hub, make_origin: MakeOrigin) -> None:
    hub.add_repo("acme/m", {"a": b"1"})
    with pytest.raises(Unauthorized, match="does not accept the token") as caught:
        await make_origin(SECRET).resolve(REF)
    assert SECRET not in f"{caught.value} {caught.value.hint} {caught.value.fields}"


def test_a_token_that_no_header_can_carry_is_refused_unseen(make_origin: MakeOrigin) -> None:
    for token in ("hf_two words", "hf_line\nX-Injected: 1", "hf_ümlaut"):
        with pytest.raises(Unauthorized) as caught:
            make_origin(token)
        assert token not in str(caught.value)


async def test_the_token_file_of_the_hub_library_is_found(hub: Hub, make_origin: MakeOrigin, tmp_path: Path) -> None:
    commit = hub.add_repo("acme/m", {"a": b"1"}, private=True)
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text(hub.token + "\n")
    origin = make_origin()
    manifest = await origin.resolve(REF)
    assert manifest.revision == commit
    request = origin.remote(manifest, manifest.files[0]).sign()
    assert request.headers["Authorization"] == f"Bearer {hub.token}"


async def test_a_refused_implicit_token_stays_at_home(hub: Hub, make_origin: MakeOrigin) -> None:
    hub.add_repo("acme/m", {"a": b"1"})
    await make_origin(HF_TOKEN=SECRET, HF_HUB_DISABLE_IMPLICIT_TOKEN="1").resolve(REF)
    assert not [asked for asked in hub.requests() if asked.authorized]


async def test_offline_mode_is_for_others(hub: Hub, make_origin: MakeOrigin) -> None:
    commit = hub.add_repo("acme/m", {"a": b"1"})
    offline = make_origin(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    assert (await offline.resolve(REF)).revision == commit


async def test_a_hub_that_is_away(make_origin: MakeOrigin) -> None:
    with pytest.raises(OriginUnavailable, match=r"cannot be reached: ConnectError"):
        await make_origin(endpoint="http://127.0.0.1:9").resolve(REF)


@pytest.mark.parametrize(("target", "status"), [(INFO, 500), (INFO, 503), (TREE, 502), (TREE, 504)])
async def test_a_hub_that_keeps_failing(hub: Hub, origin: HubOrigin, target: str, status: int) -> None:
    hub.add_repo("acme/m", {"a": b"1"})
    hub.fault(Fault("status", target, times=None, status=status, body=b'{"error": "we are sorry"}'))
    with pytest.raises(OriginUnavailable, match=f"answers {status}: we are sorry"):
        await origin.resolve(REF)
    assert len(hub.requests(path=target)) == 3


@pytest.mark.parametrize("target", [INFO, TREE])
@pytest.mark.parametrize("kind", ["status", "cut", "reset", "drop"])
async def test_one_bad_answer_is_asked_for_again(hub: Hub, origin: HubOrigin, target: str, kind: str) -> None:
    commit = hub.add_repo("acme/m", {"a": b"1"})
    hub.fault(Fault(kind, target, at=10))  # type: ignore[arg-type]  # one of the kinds by name
    assert (await origin.resolve(REF)).revision == commit
    assert len(hub.requests(path=target)) == 2


@pytest.mark.parametrize("target", [INFO, TREE])
async def test_a_rate_limit_is_said_at_once_and_not_waited_for(hub: Hub, origin: HubOrigin, target: str) -> None:
    hub.add_repo("acme/m", {"a": b"1"})
    limit = {"RateLimit": '"api";r=0;t=87', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
    hub.fault(Fault("status", target, times=None, status=429, headers=limit))
    with pytest.raises(OriginUnavailable, match=r"limits our requests \(429\); it asks us to wait 87 s") as caught:
        await origin.resolve(REF)
    assert caught.value.fields["retry_after_seconds"] == 87
    assert len(hub.requests(path=target)) == 1


async def test_retry_after_is_understood_too(hub: Hub, origin: HubOrigin) -> None:
    hub.add_repo("acme/m", {"a": b"1"})
    hub.fault(Fault("status", INFO, status=429, headers={"Retry-After": "12"}))
    with pytest.raises(OriginUnavailable, match="wait 12 s"):
        await origin.resolve(REF)


async def test_a_token_without_the_right_permissions(hub: Hub, make_origin: MakeOrigin) -> None:
    hub.add_repo("acme/m", {"a": b"1"})
    text = f"your token {hub.token} at http://x/y?Signature=abc lacks repo.content.read"
    hub.fault(Fault("status", INFO, status=403, headers={"X-Error-Message": text}))
    with pytest.raises(Unauthorized, match=r"forbids acme/m: your token \*\*\* at http://x/y\?\*\*\* lacks") as caught:
        await make_origin(hub.token).resolve(REF)
    assert hub.token not in str(caught.value)
    assert "abc" not in str(caught.value)


NONSENSE = [b"", b"<html>sorry</html>", b"[]", b"null", b'{"sha": 5}', b'{"sha": "main"}', b"7", b'{"id": "acme/m"}']


@pytest.mark.parametrize("body", NONSENSE)
async def test_what_is_no_hub_says_so(hub: Hub, origin: HubOrigin, body: bytes) -> None:
    hub.add_repo("acme/m", {"a": b"1"})
    hub.fault(Fault("garbage", INFO, body=body))
    with pytest.raises(OriginUnavailable, match=r"not understood|names no commit"):
        await origin.resolve(REF)


TREES = [
    b'[{"type": "file"}]',
    b'[{"type": "file", "path": "a", "size": -1, "oid": "%s"}]' % (b"0" * 40),
    b'[{"type": "file", "path": "a", "size": "1", "oid": "%s"}]' % (b"0" * 40),
    b'[{"type": "file", "path": "a", "size": 1, "oid": "xyz"}]',
    b'[{"type": "file", "path": 5, "size": 1, "oid": "%s"}]' % (b"0" * 40),
    b'[{"type": "file", "path": "a", "size": 1, "oid": "", "lfs": {"oid": "%s", "size": 2, "pointerSize": 1}}]'
    % (b"0" * 64),
    b'[{"type": "file", "path": "a", "size": 1, "oid": "", "lfs": {"oid": "zz", "size": 1, "pointerSize": 1}}]',
]


@pytest.mark.parametrize("body", TREES)
async def test_a_list_of_files_that_makes_no_sense(hub: Hub, origin: HubOrigin, body: bytes) -> None:
    hub.add_repo("acme/m", {"a": b"1"})
    hub.fault(Fault("garbage", TREE, body=body))
    with pytest.raises(OriginUnavailable, match=r"not understood|lists"):
        await origin.resolve(REF)


HOSTILE = {
    "parent": "../x",
    "inner parent": "a/../../x",
    "absolute": "/etc/cron.d/x",
    "empty part": "a//b",
    "dot": "./x",
    "NUL": "a\0b",
    "newline": "a\nb",
    "escape": "a\x1b[31mb",
    "300 characters": "n" * 300,
    "half a surrogate": "a\ud800",
    "deep": "/".join(["d"] * 600),
    "a megabyte": "m" * (1 << 20),
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
async def test_hostile_names_end_in_one_clear_error(hub: Hub, origin: HubOrigin, name: str) -> None:
    files: dict[str, Given] = {"fine.txt": b"1", name: b"2"}
    hub.add_repo("acme/m", files)
    with pytest.raises((Usage, OriginUnavailable)) as caught:
        await origin.resolve(REF)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


async def test_a_file_below_a_file_and_the_same_file_twice(hub: Hub, origin: HubOrigin) -> None:
    hub.add_repo("acme/m", {"a": b"1", "a/b": b"2"})
    with pytest.raises(Usage, match="below a name that is a file"):
        await origin.resolve(REF)
    twice = b'{"type": "file", "path": "a", "size": 1, "oid": "%s"}' % (b"0" * 40)
    hub.fault(Fault("garbage", TREE, body=b"[" + twice + b"," + twice + b"]"))
    with pytest.raises(Usage, match="twice"):
        await origin.resolve(REF)


async def test_a_commit_that_is_not_the_one_asked_for(hub: Hub, origin: HubOrigin) -> None:
    hub.add_repo("acme/m", {"a": b"1"})
    commit = "1" * 40
    hub.repos.point("acme/m", commit, hub.commit("acme/m", {"a": b"2"}))
    with pytest.raises(OriginUnavailable, match="with another commit"):
        await origin.resolve(REF.at(commit))


async def test_the_token_is_not_sent_to_another_origin(hub: Hub, make_origin: MakeOrigin) -> None:
    hub.add_repo("acme/m", {"a": b"1"})
    away = {"Location": f"{hub.cdn_url}/api/models/acme/m/revision/main"}
    hub.fault(Fault("status", INFO, status=302, headers=away))
    with pytest.raises(OriginUnavailable, match=f"refers us to another origin, {hub.cdn_url}"):
        await make_origin(hub.token).resolve(REF)
    hub.fault(Fault("garbage", TREE, body=b"[]"))
    hub.fault(Fault("status", TREE, status=200, body=b"[]", headers={"Link": f'<{hub.cdn_url}/next>; rel="next"'}))
    await make_origin(hub.token).resolve(REF)
    with pytest.raises(OriginUnavailable, match="refers us to another origin"):
        await make_origin(hub.token).resolve(REF)
    assert not hub.requests(origin="cdn")


async def test_a_redirect_within_the_hub_is_followed(hub: Hub, origin: HubOrigin) -> None:
    commit = hub.add_repo("acme/renamed", {"a": b"1"})
    hub.fault(Fault("status", INFO, status=307, headers={"Location": "/api/models/acme/renamed/revision/main"}))
    hub.fault(Fault("status", TREE, status=307, headers={"Location": f"/api/models/acme/renamed/tree/{commit}"}))
    assert (await origin.resolve(REF)).revision == commit


@pytest.mark.parametrize("endpoint", ["", "huggingface.co", "ftp://x", "http://", "http://u:p@x", "http://x/?a=b"])
def test_an_endpoint_that_is_none(make_origin: MakeOrigin, environ: dict[str, str], endpoint: str) -> None:
    with pytest.raises(Usage, match="HF_ENDPOINT") as caught:
        HubOrigin(endpoint, None, environ)
    assert "p@" not in str(caught.value)


async def test_the_remote_of_a_file(hub: Hub, make_origin: MakeOrigin) -> None:
    commit = hub.add_repo("acme/m", {"dir/a b%#?.txt": b"1"})
    origin = make_origin(hub.token, endpoint=hub.url + "/")
    manifest = await origin.resolve(REF)
    remote = origin.remote(manifest, manifest.files[0])
    request = remote.sign()
    assert (remote.size, remote.follow_redirects) == (1, True)
    assert request.url == f"{hub.url}/acme/m/resolve/{commit}/dir/a%20b%25%23%3F.txt"
    assert request.headers["User-Agent"] == "cachemgr/0.1.0"
    assert request.headers["Authorization"] == f"Bearer {hub.token}"
    assert hub.token not in repr(remote) + repr(request) + repr(origin)


async def test_without_a_token_no_header_is_sent(hub: Hub, origin: HubOrigin) -> None:
    hub.add_repo("acme/m", {"a": b"1"})
    manifest = await origin.resolve(REF)
    assert "Authorization" not in origin.remote(manifest, manifest.files[0]).sign().headers


async def test_a_token_is_looked_up_for_a_manifest_that_was_resolved_before_a_restart(
    hub: Hub, make_origin: MakeOrigin, tmp_path: Path
) -> None:
    hub.add_repo("acme/m", {"a": b"1"})
    manifest = await make_origin().resolve(REF)
    (tmp_path / "hf").mkdir(exist_ok=True)
    (tmp_path / "hf" / "token").write_text(hub.token)
    hub.journal.clear()
    request = make_origin().remote(manifest, manifest.files[0]).sign()
    assert request.headers["Authorization"] == f"Bearer {hub.token}"
    assert not hub.requests()
