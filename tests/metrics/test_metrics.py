"""The families and labels that dashboards and alerts of others are built on."""

from __future__ import annotations

import inspect
import re
import threading
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from cachemgr import metrics as families
from cachemgr.metrics import Metrics

ROOT = Path(__file__).parents[2]

PUBLIC: dict[str, dict[str, tuple[str, ...]]] = {
    "cachemgr_requests_total": {"result": ("hit_disk", "hit_volume", "miss", "error")},
    "cachemgr_moved_bytes_total": {
        "direction": (
            "origin_to_volume",
            "origin_to_disk",
            "volume_to_disk",
            "disk_to_volume",
            "disk_to_bucket",
            "bucket_to_disk",
        )
    },
    "cachemgr_transfers_started_total": {"kind": families.KINDS},
    "cachemgr_transfers_finished_total": {"kind": families.KINDS, "outcome": ("done", "failed", "cancelled")},
    "cachemgr_transfer_seconds_count": {"kind": families.KINDS},
    "cachemgr_transfer_seconds_sum": {"kind": families.KINDS},
    "cachemgr_verification_failures_total": {"stage": ("pull", "promote", "verify", "restore")},
    "cachemgr_evictions_total": {"reason": ("pressure", "request")},
    "cachemgr_evicted_bytes_total": {},
    "cachemgr_tier_used_bytes": {"tier": ("volume", "disk")},
    "cachemgr_tier_limit_bytes": {"tier": ("volume", "disk"), "mark": ("low", "high", "hard")},
    "cachemgr_holds": {},
    "cachemgr_checkpoints_published_total": {},
    "cachemgr_checkpoint_failures_total": {},
    "cachemgr_stale_models": {},
    "cachemgr_up": {},
}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def series(registry: CollectorRegistry) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            if not sample.name.endswith("_bucket"):
                found.setdefault(sample.name, []).append(sample.labels)
    return found


def test_every_public_series_exists_from_the_start_and_no_other(registry: CollectorRegistry) -> None:
    Metrics(registry)
    found = series(registry)
    assert set(found) == set(PUBLIC)
    for name, labels in PUBLIC.items():
        expected = 1
        for values in labels.values():
            expected *= len(values)
        assert len(found[name]) == expected, name
        for label, values in labels.items():
            assert {one[label] for one in found[name]} == set(values), name


def test_every_family_says_what_it_is(registry: CollectorRegistry) -> None:
    Metrics(registry)
    for family in registry.collect():
        assert len(family.documentation) > 10, family.name
        unit = family.name.rsplit("_", 1)[-1]
        assert unit not in ("mb", "gb", "ms", "percent", "minutes"), "base units"


def test_counting_from_many_threads_adds_up(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)
    moved = metrics.moved_bytes.labels("origin_to_volume")

    def move() -> None:
        for _ in range(10_000):
            moved.inc(3)

    threads = [threading.Thread(target=move) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.get_sample_value("cachemgr_moved_bytes_total", {"direction": "origin_to_volume"}) == 120_000


def test_two_daemons_in_one_process_do_not_share_their_numbers() -> None:
    first, second = CollectorRegistry(), CollectorRegistry()
    Metrics(first).holds.set(1)
    Metrics(second)
    assert second.get_sample_value("cachemgr_holds") == 0.0


def test_alerts_and_their_tests_use_only_what_exists(registry: CollectorRegistry) -> None:
    Metrics(registry)
    rules = yaml.safe_load((ROOT / "config/prometheus/cachemgr.rules.yml").read_text())
    used = set()
    for rule in rules["groups"][0]["rules"]:
        used |= set(re.findall(r"cachemgr_[a-z_]+", rule["expr"]))
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
    assert used <= set(PUBLIC)


def test_every_family_is_an_attribute(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)
    attributes = [name for name, value in inspect.getmembers(metrics) if isinstance(value, MetricWrapperBase)]
    assert len(attributes) == len(list(registry.collect()))
