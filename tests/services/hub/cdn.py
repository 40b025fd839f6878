"""The second origin: large files under signed links that expire, as a content network serves them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from urllib.parse import quote, unquote, urlencode

from tests.services.hub.answers import Refused, file_answer
from tests.services.hub.content import Content
from tests.services.hub.repos import HubFile
from tests.services.hub.wire import Answer, Request


class Signer:
    """Makes links to the second origin and knows the good ones."""

    def __init__(self, link_seconds: float = 3600) -> None:
        self.link_seconds = link_seconds
        self.url = ""
        self._key = secrets.token_bytes(32)
        self._contents: dict[str, Content] = {}

    def link(self, repo: str, file: HubFile) -> str:
        """A link to this file that is good for `link_seconds`."""
        path = quote(f"/{repo}/{file.content.sha256}/{file.path}", errors="surrogatepass")
        self._contents[file.content.sha256] = file.content
        expires = str(int(time.time() + self.link_seconds))
        query = {"Expires": expires, "Key-Pair-Id": "K0TEST", "Signature": self._sign(path, expires)}
        return f"{self.url}{path}?{urlencode(query)}"

    def expire(self) -> None:
        """Let every link that was handed out be no good any more."""
        self._key = secrets.token_bytes(32)

    def content(self, request: Request) -> Content | None:
        """What the link leads to; None if it is not (or no longer) good."""
        query = request.query
        expires, signature = query.get("Expires", "0"), query.get("Signature", "")
        good = hmac.compare_digest(self._sign(request.path, expires), signature) and int(expires) > time.time()
        digest = next((part for part in request.parts if part in self._contents), "")
        return self._contents.get(digest) if good else None

    def _sign(self, path: str, expires: str) -> str:
        return hmac.new(
            self._key, f"{unquote(path)} {expires}".encode("utf-8", "surrogatepass"), hashlib.sha256
        ).hexdigest()


class Cdn:
    """Answers every request to the second origin."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def answer(self, request: Request) -> Answer:
        """The file behind a good link; raises Refused.

        A bearer token is refused as object stores refuse it: it should never have come here.
        """
        if "authorization" in request.headers:
            raise _refused(400, "InvalidArgument", "Only one auth mechanism allowed")
        content = self._signer.content(request)
        if content is None:
            raise _refused(403, "AccessDenied", "Access denied: the link has expired or was changed")
        return file_answer(request, content, content.sha256, {"Cache-Control": "public, max-age=31536000"})


def _refused(status: int, code: str, message: str) -> Refused:
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Refused(Answer(status, {"Content-Type": "application/xml"}, body.encode()))
