"""The admin port: metrics that Prometheus reads, health by name, a page that needs nothing from outside."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from cachemgr.aio.iopool import IoPool
from cachemgr.api.admin import AdminServer
from cachemgr.domain.errors import Held
from cachemgr.library.answers import Check
from tests.api.fakes import FakeOverview


@dataclass
class Admin:
    """The admin port, and what it shows."""

    overview: FakeOverview
    session: aiohttp.ClientSession
    address: str


@pytest.fixture
async def admin(pool: IoPool) -> AsyncIterator[Admin]:
    registry = CollectorRegistry()
    Counter("cachemgr_requests", "Requests.", ["result"], registry=registry).labels("miss").inc(3)
    overview = FakeOverview()
    server = AdminServer(overview, registry, pool, "127.0.0.1:0")
    await server.start()
    assert server.address is not None
    address = f"127.0.0.1:{server.address[1]}"
    async with aiohttp.ClientSession(f"http://{address}") as session:
        yield Admin(overview, session, address)
    await server.close()


async def read(admin: Admin, path: str) -> tuple[int, str]:
    """Status and text."""
    async with admin.session.get(path) as response:
        return response.status, await response.text()


async def test_metrics_are_in_the_format_that_was_asked_for(admin: Admin) -> None:
    async with admin.session.get("/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        families = {family.name: family for family in text_string_to_metric_families(await response.text())}
    assert families["cachemgr_requests"].samples[0].value == 3
    accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    async with admin.session.get("/metrics", headers=accept) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text")
        assert (await response.text()).endswith("# EOF\n")


async def test_ready_means_that_every_check_holds(admin: Admin) -> None:
    assert await read(admin, "/livez") == (200, "alive\n")
    assert await read(admin, "/readyz") == (200, "ready\n")
    admin.overview.checks = [Check("disk", True, "writable"), Check("volume", False, "not mounted")]
    assert await read(admin, "/readyz") == (503, "not ready\n")
    status, text = await read(admin, "/readyz?verbose")
    assert (status, text) == (503, "[+] disk: writable\n[-] volume: not mounted\nnot ready\n")
    async with admin.session.get("/healthz") as response:
        assert response.status == 503
        assert (await response.json())["checks"][1] == {"name": "volume", "ok": False, "text": "not mounted"}
    assert await read(admin, "/livez") == (200, "alive\n")


async def test_the_page_has_nothing_from_outside_and_may_do_nothing_else(admin: Admin) -> None:
    async with admin.session.get("/") as response:
        html, policy = await response.text(), response.headers["Content-Security-Policy"]
        assert response.content_type == "text/html"
    assert not re.findall(r"(?:src|href)\s*=(?!.data:,)|url\(|@import|https?://", html)
    assert "innerHTML" not in html
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    for script in re.findall(r"<script>(.*?)</script>", html, re.DOTALL):
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy


async def test_the_page_s_numbers_are_the_status(admin: Admin) -> None:
    async with admin.session.get("/status.json") as response:
        body = await response.json()
    assert body["tiers"][0]["tier"] == "disk"
    assert body["models"][1]["error"]["title"] == "Not found"


async def test_it_only_reads(admin: Admin) -> None:
    async with admin.session.head("/livez") as response:
        assert (response.status, await response.read()) == (200, b"")
    async with admin.session.post("/metrics") as response:
        assert response.status == 405
    async with admin.session.get("/v1/models") as response:
        assert response.status == 404
        assert response.content_type == "application/problem+json"


async def test_on_loopback_a_foreign_name_is_refused(admin: Admin) -> None:
    async with admin.session.get("/status.json", headers={"Host": "evil.example"}) as response:
        assert response.status == 421


async def test_open_to_a_network_any_name_will_do(pool: IoPool) -> None:
    server = AdminServer(FakeOverview(), CollectorRegistry(), pool, "0.0.0.0:0")
    await server.start()
    assert server.address is not None
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{server.address[1]}/livez"
        async with session.get(url, headers={"Host": "worker-7.svc"}) as response:
            assert response.status == 200
    await server.close()


async def test_a_taken_port_is_held(admin: Admin, pool: IoPool) -> None:
    with pytest.raises(Held):
        await AdminServer(FakeOverview(), CollectorRegistry(), pool, admin.address).start()


async def test_a_page_that_fails_says_so_and_no_more(admin: Admin, caplog: pytest.LogCaptureFixture) -> None:
    admin.overview.df = None  # type: ignore[assignment, method-assign]  # breaks `status`
    status, text = await read(admin, "/status.json")
    assert status == 500
    assert "NoneType" not in text
    assert [record.getMessage() for record in caplog.records] == ["request failed"]
    await asyncio.sleep(0)
    assert (await read(admin, "/livez"))[0] == 200
