"""All metric families, on a registry that is passed in; every series exists from the start, a scrape reads memory."""

from __future__ import annotations

from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# A `_created` series beside each counter says nothing that we need and doubles what a scrape carries.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library left it so

RESULTS: Final = ("hit_disk", "hit_volume", "miss", "error")
DIRECTIONS: Final = (
    "origin_to_volume",
    "origin_to_disk",
    "volume_to_disk",
    "disk_to_volume",
    "disk_to_bucket",
    "bucket_to_disk",
)
KINDS: Final = ("pull", "promote", "verify", "checkpoint_push", "checkpoint_pull")
OUTCOMES: Final = ("done", "failed", "cancelled")
STAGES: Final = ("pull", "promote", "verify", "restore")
REASONS: Final = ("pressure", "request")
TIERS: Final = ("volume", "disk")
MARKS: Final = ("low", "high", "hard")

# From a small file on a fast disk to a large model over a slow link.
_SECONDS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """What this process counts: base units, labels from the closed sets above, counters that add up.

    May be used from any thread.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._count_models(registry)
        self._count_transfers(registry)
        self._count_tiers(registry)
        self._count_checkpoints(registry)
        self.up = Gauge("cachemgr_up", "1 while the daemon serves, 0 while it starts or stops.", registry=registry)
        self._begin()

    def _count_models(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "cachemgr_requests", "Requests for a model, by where it was found.", ["result"], registry=registry
        )
        self.holds = Gauge("cachemgr_holds", "Snapshots that readers hold through this daemon.", registry=registry)
        self.stale_models = Gauge(
            "cachemgr_stale_models", "Configured models whose origin could not be asked for news.", registry=registry
        )
        self.verification_failures = Counter(
            "cachemgr_verification_failures",
            "Files whose bytes were not what they should be, by when that was seen.",
            ["stage"],
            registry=registry,
        )

    def _count_transfers(self, registry: CollectorRegistry) -> None:
        self.moved_bytes = Counter(
            "cachemgr_moved_bytes", "Bytes moved, by direction.", ["direction"], registry=registry
        )
        self.transfers_started = Counter(
            "cachemgr_transfers_started", "Transfers begun, by kind.", ["kind"], registry=registry
        )
        self.transfers_finished = Counter(
            "cachemgr_transfers_finished",
            "Transfers ended, by kind and outcome.",
            ["kind", "outcome"],
            registry=registry,
        )
        self.transfer_seconds = Histogram(
            "cachemgr_transfer_seconds",
            "Time from the start of a transfer to its end, by kind.",
            ["kind"],
            buckets=_SECONDS,
            registry=registry,
        )

    def _count_tiers(self, registry: CollectorRegistry) -> None:
        self.evictions = Counter(
            "cachemgr_evictions", "Snapshots removed from the disk, by reason.", ["reason"], registry=registry
        )
        self.evicted_bytes = Counter("cachemgr_evicted_bytes", "Bytes that evictions freed.", registry=registry)
        self.tier_used_bytes = Gauge(
            "cachemgr_tier_used_bytes", "Bytes of ours on a tier, 0 where it is not there.", ["tier"], registry=registry
        )
        self.tier_limit_bytes = Gauge(
            "cachemgr_tier_limit_bytes",
            "Marks of a tier: evict down to low, evict above high, refuse above hard; 0 where there is no limit.",
            ["tier", "mark"],
            registry=registry,
        )

    def _count_checkpoints(self, registry: CollectorRegistry) -> None:
        self.checkpoints_published = Counter(
            "cachemgr_checkpoints_published", "Checkpoints whose manifest is in the bucket.", registry=registry
        )
        self.checkpoint_failures = Counter(
            "cachemgr_checkpoint_failures", "Pushes of a checkpoint that failed.", registry=registry
        )

    def _begin(self) -> None:
        # A series that appears with its first event has no rate for it: an alert on the first failure would not fire.
        for family, values in (
            (self.requests, RESULTS),
            (self.verification_failures, STAGES),
            (self.moved_bytes, DIRECTIONS),
            (self.transfers_started, KINDS),
            (self.transfer_seconds, KINDS),
            (self.evictions, REASONS),
            (self.tier_used_bytes, TIERS),
        ):
            for value in values:
                family.labels(value)
        for kind in KINDS:
            for outcome in OUTCOMES:
                self.transfers_finished.labels(kind, outcome)
        for tier in TIERS:
            for mark in MARKS:
                self.tier_limit_bytes.labels(tier, mark)
