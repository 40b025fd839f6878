"""Opening a client: one aiobotocore client per store that retries nothing, follows nothing and prints nothing."""

from __future__ import annotations

import functools
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession, get_session
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader, create_loader

from cachemgr.aio.iopool import IoPool
from cachemgr.bucket.access import Access
from cachemgr.bucket.faults import KEYS_HINT, bad_request
from cachemgr.bucket.signing import Signer
from cachemgr.domain.errors import Unauthorized

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

CONNECT_SECONDS = 10
SILENCE_SECONDS = 60
CONNECTIONS = 16

_HOST_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", re.ASCII)
_MODELS = ("service-2", "endpoint-rule-set-1", "paginators-1")
_TABLES = ("_retry", "endpoints", "partitions", "sdk-default-configuration")


class RedirectRefused(Exception):
    """A store answered with a redirect; where to is not told, and nothing was sent there."""

    def __init__(self, status: int) -> None:
        super().__init__(f"redirect {status}")
        self.status = status


async def _refuse(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestRedirectParams
) -> None:
    # A redirect without a target is an answer like any other: AWS names a bucket's region in one.
    if "Location" in params.response.headers or "URI" in params.response.headers:
        params.response.close()
        raise RedirectRefused(params.response.status)


class _StayingSession(AIOHTTPSession):  # type: ignore[misc]  # the library has no types
    """aiobotocore's HTTP session follows redirects, with the session token, and sends bodies there again: ours stays.

    A tracing hook is the one public place between the answer and the request that would follow it.
    """

    # Any: the library has no types.
    async def _get_session(self, proxy_url: str | None) -> Any:
        session = await super()._get_session(proxy_url)
        if not session.trace_configs:
            watch = aiohttp.TraceConfig()
            watch.on_request_redirect.append(_refuse)
            watch.freeze()
            session.trace_configs.append(watch)
        return session


@dataclass(frozen=True, slots=True)
class Store:
    """An open client, and what signing beside it needs."""

    client: S3Client
    session: AioSession
    region: str
    path_style: bool

    @property
    def endpoint(self) -> str:
        """Where the store is, without a trailing slash."""
        return str(self.client.meta.endpoint_url).rstrip("/")

    async def signer(self, bucket: str) -> Signer:
        """Signs for this bucket with the credentials as they are now; raises Unauthorized if there are none."""
        found = await self.session.get_credentials()
        if found is None:
            raise Unauthorized(f"s3://{bucket}: no credentials are configured", hint=KEYS_HINT)
        frozen = await found.get_frozen_credentials()
        return Signer(
            ReadOnlyCredentials(frozen.access_key, frozen.secret_key, frozen.token), self.region, self.url(bucket)
        )

    def url(self, bucket: str) -> str:
        """Where the bucket's keys begin, as botocore spells it for its own requests."""
        if self.path_style or not _HOST_NAME.fullmatch(bucket):
            return f"{self.endpoint}/{bucket}"
        parts = urlsplit(self.endpoint)
        return f"{parts.scheme}://{bucket}.{parts.netloc}{parts.path}"


async def open_store(access: Access, pool: IoPool, stack: AsyncExitStack) -> Store:
    """Open a client that `stack` closes. Raises Usage if the endpoint or the region is none."""
    session = get_session()
    if access.access_key_id and access.secret_access_key:
        session.set_credentials(access.access_key_id, access.secret_access_key, access.session_token)
    session.register_component("data_loader", await pool.run(_loader))
    try:
        region = access.region or session.get_config_variable("region") or "us-east-1"
        path_style = access.path_style if access.path_style is not None else bool(access.endpoint_url)
        client = await stack.enter_async_context(
            session.create_client(
                "s3", region_name=region, endpoint_url=access.endpoint_url, config=_config(path_style)
            )
        )
    except (BotoCoreError, ValueError) as error:
        raise bad_request("the S3 store", f"it cannot be opened ({type(error).__name__})") from None
    client.meta.events.register("before-call.s3", _stay_in_region)
    return Store(client, session, region, path_style)


def _config(path_style: bool) -> AioConfig:
    return AioConfig(
        signature_version="s3v4",
        s3={"addressing_style": "path" if path_style else "virtual"},
        # Third-party stores take the newer checksum trailers for part of the object.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=SILENCE_SECONDS,
        max_pool_connections=CONNECTIONS,
        http_session_cls=_StayingSession,
    )


# Any: what the library hands to its hooks.
def _stay_in_region(context: dict[str, Any], **_: object) -> None:
    # The SDK would ask another region with the same credentials; without redirects it asks itself until it overflows.
    context.setdefault("s3_redirect", {})["redirected"] = True


@functools.cache
def _loader() -> Loader:
    """The SDK's large tables, which every client would otherwise read for itself, and on the event loop; blocks."""
    loader = create_loader()
    for table in _TABLES:
        loader.load_data_with_path(table)
    for kind in _MODELS:
        loader.load_service_model("s3", kind)
    return loader
