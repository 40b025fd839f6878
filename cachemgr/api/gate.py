"""Who may speak over TCP: requests that were meant for us, with the token."""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import urlsplit

from aiohttp import web

from cachemgr.api.errors import Refused
from cachemgr.domain.errors import Unauthorized


class HostCheck:
    """Refuses requests whose Host is a name that is not ours.

    A browser can be led to any address by a name that its attacker owns; an address or `localhost` cannot be owned.
    """

    def __init__(self, *names: str) -> None:
        self._names = frozenset({"localhost", *(name.lower() for name in names)})

    def admit(self, request: web.BaseRequest) -> None:
        """Raises Refused."""
        given = request.headers.getall("Host", [])
        if len(given) != 1 or not self._ours(given[0]):
            raise Refused(421, "the Host of this request is not ours", hint="address it by IP address or as configured")

    def _ours(self, given: str) -> bool:
        try:
            name = urlsplit(f"//{given}").hostname or ""
            if name in self._names:
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class TokenCheck:
    """Refuses requests that do not carry the token."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    def admit(self, request: web.BaseRequest) -> None:
        """Raises Unauthorized; takes as long for a nearly right token as for a wrong one."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        given = f"{scheme.capitalize()} {token.strip()}".encode(errors="surrogateescape")
        if not hmac.compare_digest(given, self._expected):
            raise Unauthorized(
                "this request carries no valid token", hint="send the token of api.token as `Authorization: Bearer ...`"
            )
