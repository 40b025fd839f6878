"""A real Prometheus watches a daemon at work: what it says happened is what happened."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path

import pytest

from tests.e2e.documents import ROOT, blocks
from tests.services.hub.faults import Fault
from tests.services.hub.models import model_m20
from tests.services.hub.repos import HubFile
from tests.services.hub.server import Hub
from tests.services.prometheus import Prometheus, prometheus
from tests.services.worker import Worker

pytestmark = [pytest.mark.integration]

RULES = ROOT / "config" / "prometheus" / "cachemgr.rules.yml"
SCALE = 0.01  # a model of 13 MB
TWO_FIT = {"CACHEMGR_DISK__LOW": "28MB", "CACHEMGR_DISK__HIGH": "30MB", "CACHEMGR_DISK__HARD": "32MB"}
MODELS = [f"acme/m{number}" for number in range(3)]


def work(worker: Worker, hub: Hub) -> dict[str, float]:
    """Pull, promote, evict, and pull something bad; returns what the queries below must give then."""
    for seed, name in enumerate(MODELS):
        hub.add_repo(name, model_m20(SCALE, seed=seed))
    pulled = worker.json("pull", f"hf://{MODELS[0]}")
    promoted = [worker.json("promote", f"hf://{name}") for name in MODELS]
    hub.add_repo("acme/bad", {"config.json": "{}", "model.safetensors": "x" * 9000})
    hub.fault(Fault("flip", "acme/bad/model.safetensors", at=1, times=None))
    worker.fails(4, "pull", "hf://acme/bad")
    worker.fails(3, "path", "hf://acme/nothing")
    disk = next(tier for tier in worker.json("df") if tier["tier"] == "disk")
    evicted, *own = (own_bytes(hub, name) for name in MODELS)
    fetched = pulled["fetched_bytes"] + sum(one["fetched_bytes"] for one in promoted)
    return {
        'up{job="cachemgr"}': 1,
        "cachemgr_up": 1,
        'cachemgr_evictions_total{reason="pressure"}': 1,
        'cachemgr_evictions_total{reason="request"}': 0,
        "cachemgr_evicted_bytes_total": evicted,
        'cachemgr_moved_bytes_total{direction="origin_to_volume"}': fetched + 9002,
        'cachemgr_moved_bytes_total{direction="volume_to_disk"}': pulled["bytes"] + sum(own),
        'cachemgr_verification_failures_total{stage="pull"}': 1,
        "sum(cachemgr_verification_failures_total)": 1,
        'cachemgr_transfers_finished_total{kind="promote", outcome="done"}': 3,
        'cachemgr_transfers_finished_total{kind="pull", outcome="failed"}': 1,
        'cachemgr_requests_total{result="miss"}': 1,
        'cachemgr_tier_used_bytes{tier="disk"}': disk["used_bytes"],
        'cachemgr_tier_limit_bytes{tier="disk", mark="hard"}': 32_000_000,
        "sum(cachemgr_transfers_started_total) - sum(cachemgr_transfers_finished_total)": 0,
    }


def own_bytes(hub: Hub, name: str) -> int:
    """What comes and leaves with a model beside the others: the files that it shares with them are there once."""
    contents = {other: {file.etag: file.size for file in _files(hub, other)} for other in MODELS}
    shared = {etag for other in MODELS if other != name for etag in contents[other]}
    return sum(size for etag, size in contents[name].items() if etag not in shared)


def _files(hub: Hub, name: str) -> Collection[HubFile]:
    commit = hub.repos.get(name).find("main")
    assert commit is not None
    return commit.files.values()


def test_its_queries_agree_with_what_happened(worker: Worker, hub: Hub, tmp_path: Path) -> None:
    worker.extra.update(TWO_FIT)
    target = f"127.0.0.1:{worker.admin_port}"
    with prometheus(tmp_path / "prometheus", [target], RULES) as prom:
        with worker.serving():
            prom.wait_for('up{job="cachemgr"}', lambda value: value == 1)
            assert prom.value('cachemgr_evictions_total{reason="pressure"}') == 0  # there before anything happens
            wanted = work(worker, hub)
            for query, expected in wanted.items():
                prom.wait_for(query, lambda value, expected=expected: value == expected)  # type: ignore[misc]  # mypy infers no default
            assert_the_documented_queries_work(prom)
        prom.wait_for('up{job="cachemgr"}', lambda value: value == 0)


def assert_the_documented_queries_work(prom: Prometheus) -> None:
    [block] = blocks(ROOT / "docs" / "metrics.md", "promql")
    queries = [query.strip() for query in re.split(r"^#.*\n", block.text, flags=re.MULTILINE) if query.strip()]
    assert len(queries) == len(re.findall(r"^#", block.text, re.MULTILINE))
    for query in queries:
        samples = prom.samples(query)
        assert samples, f"{query} gives nothing on a worker that has done something"
        assert json.dumps([value for _, value in samples])
