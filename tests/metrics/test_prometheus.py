"""A real Prometheus takes our configuration, our alerts and our numbers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, start_http_server

from cachemgr.metrics import Metrics
from tests.services.parts import require_program
from tests.services.prometheus import prometheus

CONFIG = Path(__file__).parents[2] / "config" / "prometheus"
ALERTS = Path(__file__).parent / "alerts.test.yml"

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def promtool() -> str:
    return require_program("Prometheus", "promtool")


def test_promtool_accepts_the_configuration_and_the_alerts(promtool: str, tmp_path: Path) -> None:
    # Somewhere else, as a person would copy it: the paths in it are relative to it.
    shutil.copytree(CONFIG, tmp_path / "prometheus")
    for verb, file in (("config", "prometheus.yml"), ("rules", "cachemgr.rules.yml")):
        command = [promtool, "check", verb, str(tmp_path / "prometheus" / file)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


def test_each_alert_fires_when_it_should_and_a_healthy_worker_fires_none(promtool: str) -> None:
    command = [promtool, "test", "rules", ALERTS.name]
    result = subprocess.run(command, cwd=ALERTS.parent, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_prometheus_scrapes_our_numbers_and_evaluates_our_alerts(tmp_path: Path) -> None:
    metrics = Metrics(registry := CollectorRegistry())
    server, thread = start_http_server(0, "127.0.0.1", registry)
    target = f"127.0.0.1:{server.server_port}"
    try:
        with prometheus(tmp_path, [target], CONFIG / "cachemgr.rules.yml") as prom:
            metrics.up.set(1)
            metrics.evictions.labels("pressure").inc(2)
            assert prom.wait_for('cachemgr_evictions_total{reason="pressure"}', lambda value: value == 2.0)
            assert prom.targets() == {target: "up"}
            assert prom.value("sum(cachemgr_requests_total)") == 0.0
            assert len(prom.samples("cachemgr_requests_total")) == 4
            assert "CachemgrVerificationFailures" in prom.rules()
            metrics.verification_failures.labels("pull").inc()
            firing = 'count(ALERTS{alertname="CachemgrVerificationFailures", alertstate="firing", stage="pull"})'
            prom.wait_for(firing, lambda value: value == 1.0)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
