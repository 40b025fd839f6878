"""The real hub client, offline, finds in a tier what was published there, and takes no part for the whole."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from cachemgr.domain.ref import Ref
from cachemgr.tiers.directory import DirectoryTier
from tests.services.hub.server import Hub, hub_server
from tests.tiers import hub_client
from tests.tiers.making import COMMIT, FILES, MAIN, OTHER, contents, manifest, publish

ONLINE = "import sys, huggingface_hub as hf; print(hf.snapshot_download(sys.argv[1]))"


async def download(tier: DirectoryTier, hub: Hub) -> Path:
    """Let the client, online, download `acme/small` into the tier's hub cache."""
    environ = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_CACHE": str(tier.layout.hub),
        "HF_HOME": str(tier.root / "home"),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ONLINE, "acme/small", env=environ, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return Path(out.decode().strip())


async def ask(tier: DirectoryTier, *more: str) -> Any:  # JSON
    """What the client says of `acme/small`."""
    command = [sys.executable, str(hub_client.__file__), str(tier.layout.hub), "acme/small", *more]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(out)


async def test_a_published_snapshot_is_the_clients_main(tier: DirectoryTier) -> None:
    made = manifest()
    await publish(tier, made)
    found = await ask(tier)
    path = str(tier.snapshots.directory(made))
    assert found["main"] == found["config"] == path
    assert Path(found["file"]).is_relative_to(path)
    assert found["warnings"] == []
    assert found["revisions"] == {COMMIT: {"refs": ["main"], "files": len(FILES)}}


async def test_a_filtered_snapshot_is_refused_as_a_whole_and_found_in_part(tier: DirectoryTier) -> None:
    made = manifest(have=frozenset({"config.json"}))
    await publish(tier, made)
    found = await ask(tier, "tree")
    assert found["main"] == "IncompleteSnapshotError"
    assert found["config"] == str(tier.snapshots.directory(made))
    assert found["tree"] == sorted(FILES)


async def test_a_filtered_snapshot_that_grew_whole_is_found_as_a_whole(tier: DirectoryTier) -> None:
    await publish(tier, manifest(have=frozenset({"config.json"})))
    await publish(tier, manifest())
    assert (await ask(tier))["main"] == str(tier.snapshots.directory(manifest()))


async def test_what_was_discarded_leaves_a_cache_without_faults(tier: DirectoryTier) -> None:
    kept, gone = manifest(), manifest({**FILES, "config.json": b"{}"}, revision=OTHER)
    await publish(tier, kept)
    await publish(tier, gone, {**FILES, "config.json": b"{}"}, ref=Ref.parse("hf://acme/small@v2"))
    await tier.snapshots.discard(gone.id)
    found = await ask(tier)
    assert found["warnings"] == []
    assert found["revisions"] == {COMMIT: {"refs": ["main"], "files": len(FILES)}}
    await tier.snapshots.discard(kept.id)
    found = await ask(tier)
    assert (found["main"], found["warnings"], found["revisions"]) == ("LocalEntryNotFoundError", [], {})


async def test_after_a_commit_an_online_client_fetches_only_what_changed(tier: DirectoryTier) -> None:
    changed = {**FILES, "config.json": b'{"changed": true}'}
    with hub_server() as hub:
        made = manifest(revision=hub.add_repo("acme/small", FILES))
        await publish(tier, made)
        commit = hub.commit("acme/small", {"config.json": changed["config.json"]})
        theirs = await download(tier, hub)
        assert {asked.file for asked in hub.requests(method="GET", file="*")} == {"acme/small/config.json"}
    assert theirs.name == commit
    assert contents(theirs) == changed
    await tier.snapshots.discard(made.id)
    for digest, _ in await tier.blobs.reclaimable():
        await tier.blobs.reclaim(digest)
    assert contents(theirs) == changed, "what another revision links stays"


async def test_an_online_client_fetches_nothing_of_what_is_published(tier: DirectoryTier) -> None:
    with hub_server() as hub:
        made = manifest(revision=hub.add_repo("acme/small", FILES))
        await publish(tier, made)
        assert await download(tier, hub) == tier.snapshots.directory(made)
        assert hub.requests(method="GET", file="*") == []


async def test_an_online_client_completes_a_filtered_snapshot_with_what_is_missing(tier: DirectoryTier) -> None:
    with hub_server() as hub:
        made = manifest(revision=hub.add_repo("acme/small", FILES), have=frozenset({"model.safetensors"}))
        await publish(tier, made)
        assert contents(await download(tier, hub)) == FILES
        fetched = {asked.file for asked in hub.requests(method="GET", file="*")}
        assert fetched == {f"acme/small/{path}" for path in FILES.keys() - {"model.safetensors"}}


async def test_a_pull_requests_ref_is_written_where_the_client_looks(tier: DirectoryTier) -> None:
    await publish(tier, manifest(), ref=Ref.parse("hf://acme/small@refs/pr/7"))
    found = await ask(tier)
    assert found["revisions"] == {COMMIT: {"refs": ["refs/pr/7"], "files": len(FILES)}}
    assert MAIN.revision not in found["revisions"][COMMIT]["refs"]
