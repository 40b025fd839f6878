"""The line to one bucket: every request is retried, translated and signed here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from cachemgr.aio.retry import Retry
from cachemgr.bucket.foreign import FOREIGN, translate
from cachemgr.bucket.session import Store
from cachemgr.bucket.signing import Signer

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Line:
    """One bucket of an open store."""

    bucket: str
    store: Store
    retry: Retry

    def where(self, key: str = "") -> str:
        """How an object is named to people."""
        return f"s3://{self.bucket}/{key}" if key else f"s3://{self.bucket}"

    async def once(self, key: str, call: Callable[[S3Client], Awaitable[T]]) -> T:
        """The answer to one request, asked once; raises our errors."""
        try:
            return await call(self.store.client)
        except FOREIGN as error:
            # Without their error as its cause: a store may throw back in it what was signed.
            raise translate(error, self.where(key)) from None

    async def ask(self, key: str, call: Callable[[S3Client], Awaitable[T]]) -> T:
        """The answer to a request that may be sent twice; raises our errors."""
        return await self.retry(lambda: self.once(key, call))

    async def signer(self) -> Signer:
        """Signs for this bucket with the credentials as they are now; raises Unauthorized."""
        try:
            return await self.store.signer(self.bucket)
        except FOREIGN as error:
            raise translate(error, self.where()) from None
