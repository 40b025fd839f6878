"""The admin port: metrics, health and a status page. It reads memory alone, so a stalled volume cannot stall it."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from importlib.resources import files

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from cachemgr.aio.iopool import IoPool
from cachemgr.api.connection import Limits, Server
from cachemgr.api.errors import Refused
from cachemgr.api.gate import HostCheck
from cachemgr.api.listening import bind_tcp, parse_listen
from cachemgr.api.ports import Overview
from cachemgr.api.responder import encoded
from cachemgr.api.server import Listener
from cachemgr.domain.errors import NotFound
from cachemgr.library.answers import Check

_LIMITS = Limits(connections=64)
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


class AdminServer:
    """Serves `/metrics`, `/livez`, `/readyz`, `/healthz`, `/status.json` and, for people, `/`."""

    def __init__(self, overview: Overview, registry: CollectorRegistry, pool: IoPool, listen: str) -> None:
        """Raises Usage if `listen` is not host:port."""
        self._overview = overview
        self._registry = registry
        self._pool = pool
        self._listen = listen
        self._listener: Listener | None = None
        # Whoever opens it to a network has it asked for by names that are not known here.
        self._check = HostCheck() if _loopback(parse_listen(listen)[0]) else None
        self._pages: Mapping[str, Callable[[web.BaseRequest], web.Response]] = {
            "/": self._page,
            "/metrics": self._metrics,
            "/livez": _alive,
            "/readyz": self._ready,
            "/healthz": self._health,
            "/status.json": self._status,
        }
        html = (files("cachemgr.api") / "web" / "status.html").read_text("utf-8")
        self._html, self._policy = html.encode(), _policy(html)

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port, once started."""
        if self._listener is None:
            return None
        host, port = self._listener.address[:2]
        return str(host), int(port)

    async def start(self) -> None:
        """Serve; raises Held if the port is taken, Usage if nothing can listen there."""
        listener = Listener(Server(self._answer, _LIMITS), await self._pool.run(bind_tcp, self._listen))
        await listener.start()
        self._listener = listener

    async def close(self) -> None:
        """Stop serving."""
        if self._listener is not None:
            await self._listener.close(0.5)
            self._listener = None

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if self._check is not None:
            self._check.admit(request)
        page = self._pages.get(request.rel_url.raw_path)
        if page is None:
            raise NotFound("no such page", hint=f"there is {', '.join(self._pages)}")
        if request.method not in ("GET", "HEAD"):
            raise Refused(405, "the admin port is read-only", hint="allowed: GET, HEAD")
        response = page(request)
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    def _metrics(self, request: web.BaseRequest) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})

    def _ready(self, request: web.BaseRequest) -> web.Response:
        checks = self._overview.readiness()
        ready = all(check.ok for check in checks)
        lines = [_line(check) for check in checks if "verbose" in request.query]
        text = "\n".join([*lines, "ready" if ready else "not ready", ""])
        return web.Response(text=text, status=200 if ready else 503)

    def _health(self, request: web.BaseRequest) -> web.Response:
        checks = self._overview.readiness()
        ready = all(check.ok for check in checks)
        body = {"ready": ready, "checks": [{"name": c.name, "ok": c.ok, "text": c.text} for c in checks]}
        return web.Response(text=json.dumps(body), status=200 if ready else 503, content_type="application/json")

    def _status(self, request: web.BaseRequest) -> web.Response:
        return web.Response(body=encoded(self._overview.status()), content_type="application/json")

    def _page(self, request: web.BaseRequest) -> web.Response:
        return web.Response(
            body=self._html,
            content_type="text/html",
            charset="utf-8",
            headers={"Content-Security-Policy": self._policy, "Referrer-Policy": "no-referrer"},
        )


def _alive(request: web.BaseRequest) -> web.Response:
    return web.Response(text="alive\n")


def _line(check: Check) -> str:
    return f"[{'+' if check.ok else '-'}] {check.name}: {check.text}"


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _policy(html: str) -> str:
    """What the page may do: run its own script, and fetch from here."""
    digests = [hashlib.sha256(script.encode()).digest() for script in _SCRIPT.findall(html)]
    scripts = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
