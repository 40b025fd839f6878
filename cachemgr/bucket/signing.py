"""Signing requests for the data plane: botocore's signature over a request whose bytes it does not see."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from urllib.parse import quote

from botocore.auth import UNSIGNED_PAYLOAD, S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from cachemgr.moving.remote import Request

# Its DEBUG lines spell out what is signed, session tokens included.
for _name in ("botocore", "aiobotocore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class _PayloadAuth(S3SigV4Auth):  # type: ignore[misc]  # the library has no types
    """Takes the hash of the body from the request's context instead of reading the body."""

    def payload(self, request: AWSRequest) -> str:
        return str(request.context["payload"])


class Signer:
    """Signs for one bucket with the credentials of one moment; may be used from any thread."""

    def __init__(self, credentials: ReadOnlyCredentials, region: str, bucket_url: str) -> None:
        self._credentials = credentials
        self._region = region
        self._bucket_url = bucket_url

    def sign(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        payload: str = UNSIGNED_PAYLOAD,
    ) -> Request:
        """A request for this object; `payload` is the sha256 (hex) of the body where it is known."""
        url = f"{self._bucket_url}/{quote(key, safe='/-._~')}"
        if query:
            url += "?" + "&".join(f"{quote(name, safe='')}={quote(query[name], safe='-._~')}" for name in sorted(query))
        request = AWSRequest(method=method, url=url, headers=dict(headers or {}))
        request.context["payload"] = payload
        _PayloadAuth(self._credentials, "s3", self._region).add_auth(request)
        return Request(url, dict(request.headers.items()))
