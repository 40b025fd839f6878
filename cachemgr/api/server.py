"""The API's server: the unix socket, and TCP where a token is set."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from aiohttp import web

from cachemgr.aio.iopool import IoPool
from cachemgr.api.connection import DEFAULT_LIMITS, Limits, Server
from cachemgr.api.gate import HostCheck, TokenCheck
from cachemgr.api.listening import UnixSocket, bind_tcp, bind_unix, parse_listen
from cachemgr.api.responder import Check, Responder
from cachemgr.api.routing import Table
from cachemgr.domain.errors import Usage


class Listener:
    """One server on one listening socket."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self._server = server
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        self._sock = sock
        self.address = sock.getsockname()

    async def start(self) -> None:
        """Accept connections."""
        await self._runner.setup()
        await web.SockSite(self._runner, self._sock).start()

    async def close(self, grace_seconds: float) -> None:
        """Accept no more, let requests finish for so long, cancel the rest, and wait for them."""
        for site in self._runner.sites:
            await site.stop()
        await self._server.settle(grace_seconds)
        await self._runner.cleanup()
        self._sock.close()


class ApiServer:
    """Serves a route table on a unix socket, and on `listen` for those who have the token."""

    def __init__(
        self,
        table: Table,
        pool: IoPool,
        path: Path,
        listen: str | None = None,
        token: str | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Raises Usage for TCP without a token: whoever can reach the port could do anything."""
        if listen and not (token and token.strip()):
            raise Usage("TCP is not served without a token", hint="set api.token, or leave api.listen empty")
        self._table = table
        self._pool = pool
        self._path = path
        self._tcp = (listen, token.strip()) if listen and token else None
        self._limits = limits
        self._unix: UnixSocket | None = None
        self._listeners: list[Listener] = []

    @property
    def tcp_address(self) -> tuple[str, int] | None:
        """Host and port that TCP is served on, once started."""
        if self._tcp is None or len(self._listeners) < 2:
            return None
        host, port = self._listeners[1].address[:2]
        return str(host), int(port)

    async def start(self) -> None:
        """Serve; raises Held if another daemon does already, and Usage if nothing can listen there."""
        self._unix = await self._pool.run(bind_unix, self._path)
        try:
            await self._serve(Responder(self._table), self._unix.sock)
            if self._tcp is not None:
                listen, token = self._tcp
                checks: list[Check] = [HostCheck(parse_listen(listen)[0], socket.gethostname()), TokenCheck(token)]
                await self._serve(Responder(self._table, checks), await self._pool.run(bind_tcp, listen))
        except BaseException:
            await self.close(0)
            raise

    async def close(self, grace_seconds: float) -> None:
        """Stop serving: requests have so long to finish, then they are cancelled."""
        async with asyncio.TaskGroup() as closing:
            for listener in self._listeners:
                closing.create_task(listener.close(grace_seconds))
        self._listeners.clear()
        if self._unix is not None:
            await self._pool.run(self._unix.release)
            self._unix = None

    async def _serve(self, responder: Responder, sock: socket.socket) -> None:
        listener = Listener(Server(responder, self._limits), sock)
        await listener.start()
        self._listeners.append(listener)
