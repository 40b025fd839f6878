"""The hub server is honest: the real client downloads from it as from the real hub; its faults are what they say."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from http.client import IncompleteRead
from pathlib import Path

import pytest

from tests.services.hub.content import Content, Generated
from tests.services.hub.faults import Fault
from tests.services.hub.models import model_m20
from tests.services.hub.server import Hub, hub_server

SNAPSHOT = "import huggingface_hub as h; print(h.snapshot_download('acme/m20'))"


def client(hub: Hub, environ: dict[str, str], code: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a program whose hub library talks to our server."""
    env = {**environ, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_TELEMETRY": "1", **extra}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=18, check=False
    )


def snapshot(hub: Hub, environ: dict[str, str], **extra: str) -> Path:
    done = client(hub, environ, SNAPSHOT, **extra)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@dataclass(frozen=True, slots=True)
class Got:
    """What a plain client got."""

    status: int
    headers: Message
    body: bytes


def get(url: str, **headers: str) -> Got:
    """Ask as urllib does: redirects are followed, with all headers. In header names `_` stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=named), timeout=10) as response:
            return Got(response.status, response.headers, response.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return Got(refused.code, refused.headers, refused.read())


def test_the_real_client_downloads_a_model_byte_for_byte(hub: Hub, environ: dict[str, str]) -> None:
    commit = hub.add_repo("acme/m20", model_m20(scale=0.002))
    path = snapshot(hub, environ)
    assert path.name == commit
    files = hub.repos.get("acme/m20").commits[commit].files
    assert {file.name for file in path.iterdir()} == set(files)
    for name, file in files.items():
        data = (path / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size, file.content.sha256)
        assert (path / name).readlink().name == file.etag, "the client calls its blob what we say it will"
    assert all(hub.count(f"acme/m20/{name}") == 1 + file.large for name, file in files.items() if not file.large)
    assert not [asked for asked in hub.requests(origin="cdn") if asked.authorized]


def test_after_a_commit_the_real_client_fetches_only_what_changed(hub: Hub, environ: dict[str, str]) -> None:
    hub.add_repo("acme/m20", model_m20(scale=0.002))
    snapshot(hub, environ)
    hub.journal.clear()
    commit = hub.commit("acme/m20", {"config.json": "{}"})
    assert snapshot(hub, environ).name == commit
    assert [asked.file for asked in hub.requests(method="GET", file="*")] == ["acme/m20/config.json"]
    assert len(hub.requests(method="HEAD", file="*")) == 20


def test_a_token_opens_gated_and_private_repositories(hub: Hub, environ: dict[str, str]) -> None:
    hub.add_repo("acme/m20", {"model.safetensors": b"w" * 100}, gated=True, private=True)
    refused = client(hub, environ, SNAPSHOT)
    assert "RepositoryNotFoundError" in refused.stderr
    assert snapshot(hub, environ, HF_TOKEN=hub.token).exists()
    assert not [asked for asked in hub.requests(origin="cdn") if asked.authorized]
    hub.add_repo("acme/m20", {"model.safetensors": b"w" * 100}, gated=True)
    assert "GatedRepoError" in client(hub, environ, SNAPSHOT, HF_HOME=environ["HF_HOME"] + "2").stderr
    bad = client(hub, environ, "import huggingface_hub as h; h.HfApi().whoami()", HF_TOKEN="hf_nonsense")
    assert "Invalid user token" in bad.stderr


def test_small_files_may_be_redirected_within_the_hub(hub: Hub, environ: dict[str, str]) -> None:
    hub.options.redirect_small = True
    hub.add_repo("acme/m20", {"dir/config.json": b"{}", "a.bin": b"1"})
    assert (snapshot(hub, environ) / "dir/config.json").read_bytes() == b"{}"
    assert hub.requests(path="/api/resolve-cache/*")


def test_large_files_are_behind_links_that_expire(hub: Hub) -> None:
    hub.add_repo("acme/m20", {"a.bin": b"0123456789"})
    url = f"{hub.url}/acme/m20/resolve/main/a.bin"
    assert get(url).body == b"0123456789"
    hub.fault(Fault("expired", "acme/m20/a.bin", origin="hub"))
    assert get(url).status == 403
    taken_along = get(url, Authorization=f"Bearer {hub.token}")
    assert taken_along.status == 400, "the second origin refuses a token that should not have come"


def test_ranges_and_conditions(hub: Hub) -> None:
    hub.add_repo("acme/m20", {"a.txt": b"0123456789"})
    url = f"{hub.url}/acme/m20/resolve/main/a.txt"
    for asked, body in (("2-4", b"234"), ("7-", b"789"), ("-3", b"789"), ("8-99", b"89")):
        got = get(url, Range=f"bytes={asked}")
        assert (got.status, got.body) == (206, body)
    assert get(url, Range="bytes=10-").status == 416
    assert get(url, If_None_Match=get(url).headers["ETag"]).status == 304
    assert get(url, Range="bytes=1-2", If_Range='"other"').status == 200


DATA = bytes(range(256)) * 40
FAULTS = {
    "flip": (Fault("flip", "acme/m20/*", at=300), DATA[:300] + bytes([DATA[300] ^ 0x10]) + DATA[301:]),
    "shorter": (Fault("shorter", "acme/m20/*", at=300), DATA[:300]),
    "garbage": (Fault("garbage", "acme/m20/*", body=b"no"), b"no"),
    "slow": (Fault("slow", "acme/m20/*", rate=1 << 30), DATA),
}


@pytest.mark.parametrize(("fault", "body"), FAULTS.values(), ids=FAULTS)
def test_faults_that_falsify(hub: Hub, fault: Fault, body: bytes) -> None:
    hub.add_repo("acme/m20", {"a.txt": DATA})
    url = f"{hub.url}/acme/m20/resolve/main/a.txt"
    hub.fault(fault)
    assert get(url).body == body
    assert get(url).body == DATA, "once is once"


@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_faults_that_break_off(hub: Hub, kind: str) -> None:
    hub.add_repo("acme/m20", {"a.txt": DATA})
    hub.fault(Fault(kind, "acme/m20/*", at=300))  # type: ignore[arg-type]  # one of the kinds by name
    with pytest.raises((IncompleteRead, ConnectionResetError)):
        get(f"{hub.url}/acme/m20/resolve/main/a.txt")
    assert hub.bytes("acme/m20/a.txt") == 300


def test_faults_about_ranges(hub: Hub) -> None:
    hub.add_repo("acme/m20", {"a.txt": DATA})
    url = f"{hub.url}/acme/m20/resolve/main/a.txt"
    for fault, status, told, body in (
        (Fault("whole", "acme/m20/*"), 200, None, DATA),
        (Fault("part", "acme/m20/*", at=5), 206, "bytes 100-104/10240", DATA[100:105]),
        (Fault("elsewhere", "acme/m20/*", at=7), 206, "bytes 107-206/10240", DATA[107:207]),
        (Fault("lie", "acme/m20/*", at=7), 206, "bytes 100-199/10240", DATA[107:207]),
    ):
        hub.fault(fault)
        got = get(url, Range="bytes=100-199")
        assert (got.status, got.headers["Content-Range"], got.body) == (status, told, body)


def test_a_stalled_answer_goes_on_when_it_is_released(hub: Hub) -> None:
    hub.add_repo("acme/m20", {"a.txt": DATA})
    fault = hub.fault(Fault("stall", "acme/m20/*", at=10))
    with urllib.request.urlopen(f"{hub.url}/acme/m20/resolve/main/a.txt", timeout=10) as response:
        assert response.read(10) == DATA[:10]
        assert fault.reached.wait(10)
        fault.release.set()
        assert response.read() == DATA[10:]


def test_a_manifest_can_promise_what_the_bytes_are_not(hub: Hub) -> None:
    hub.add_repo("acme/m20", {"a.bin": b"12345"})
    hub.lie("acme/m20", "a.bin", size=6, digest="0" * 64)
    (entry,) = json.loads(get(f"{hub.url}/api/models/acme/m20/tree/main").body)
    assert (entry["size"], entry["lfs"]["size"], entry["lfs"]["oid"]) == (6, 6, "0" * 64)
    assert get(f"{hub.url}/acme/m20/resolve/main/a.bin").body == b"12345"


def test_generated_content_is_the_same_everywhere_and_never_repeats(tmp_path: Path) -> None:
    spec = Generated(3_500_000, 7, b"head")
    data = b"".join(spec.blocks())
    assert len(data) == spec.size
    assert data.startswith(b"head")
    assert len({data[n : n + 4096] for n in range(0, len(data), 4096)}) == -(-len(data) // 4096)
    for _ in range(2):
        with hub_server(tmp_path) as hub:
            hub.add_repo("acme/m20", {"a.bin": spec})
            assert get(f"{hub.url}/acme/m20/resolve/main/a.bin").body == data
    assert Content.of(data).sha256 == hashlib.sha256(data).hexdigest()


def test_the_hub_is_controlled_over_http(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.services.hub", "--root", str(tmp_path), "--model", "acme/m20"]
    with subprocess.Popen([*command, "--scale", "0.0001"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        try:
            drive(url)
        finally:
            process.terminate()
    assert process.returncode == 0


def drive(url: str) -> None:
    """Use every control once."""

    def control(method: str, what: str, body: object = None) -> dict[str, object]:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{url}/_control/{what}", data, method=method)) as response:
            answer: dict[str, object] = json.load(response)
            return answer

    made = control("POST", "repos", {"repo": "acme/b", "files": {"a.txt": {"text": "1"}, "b": {"size": 9, "seed": 1}}})
    moved = control("POST", "commit", {"repo": "acme/b", "files": {"a.txt": {"base64": "Mg=="}, "b": None}})
    assert made["sha"] != moved["sha"]
    assert get(f"{url}/acme/b/resolve/main/a.txt", User_Agent="me/1").body == b"2"
    seen = control("GET", "requests?agent=me/*")
    assert (seen["count"], seen["bytes"]) == (1, 1)
    control("DELETE", "requests")
    control("POST", "faults", {"kind": "status", "target": "acme/b/*", "status": 418, "times": None})
    assert get(f"{url}/acme/b/resolve/main/a.txt").status == 418
    control("DELETE", "faults")
    assert get(f"{url}/acme/b/resolve/main/a.txt").status == 200
    assert control("GET", "requests")["count"] == 2
