"""Where bytes come from: one file at an origin, and the requests that ask for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """A URL and the headers to send with it; neither is ever printed, for both can carry a credential."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)

    @property
    def where(self) -> str:
        """The URL without credentials, query and fragment: what may be shown to people."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@dataclass(frozen=True, slots=True)
class Remote:
    """One file's bytes at an origin.

    `sign` is called from data threads and gives a fresh request for each attempt; it must not be bound to a range.
    With `follow_redirects` at most five are followed: what could be a credential is dropped as soon as scheme, host
    or port change, https never becomes http, and a public origin cannot send us to a private address. Without it any
    redirect is OriginUnavailable.
    """

    size: int
    sign: Callable[[], Request] = field(repr=False)
    follow_redirects: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """What an origin answered to a request that sent bytes; header names in lower case, at most 64 KiB of its body."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
