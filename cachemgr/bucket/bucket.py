"""One bucket as the rooms above use it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cachemgr.bucket.checks import Check, encoded, probe, whole_headers
from cachemgr.bucket.copying import copy_object
from cachemgr.bucket.faults import ConditionFailed, StoreRefused, UploadGone
from cachemgr.bucket.line import Line
from cachemgr.bucket.multipart import Multipart, abort_upload, list_uploads
from cachemgr.bucket.prints import Prints
from cachemgr.bucket.sender import Counted, Sender
from cachemgr.bucket.stored import SHA256_METADATA, Stored, find, tag
from cachemgr.domain.errors import OriginUnavailable, VerificationFailed
from cachemgr.moving.plane import DataPlane
from cachemgr.moving.remote import Remote

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import ListObjectsV2OutputTypeDef, ListObjectsV2RequestTypeDef

PARTS_AT_ONCE = 4

_TYPE = "application/octet-stream"
_JSON = "application/json"


class Bucket:
    """Objects of one bucket. Every call raises NotFound, Unauthorized, OriginUnavailable or Usage, in our words."""

    def __init__(self, line: Line, plane: DataPlane) -> None:
        self._line = line
        self._plane = plane
        self._check: Check | None = None

    def where(self, key: str = "") -> str:
        """How an object is named to people."""
        return self._line.where(key)

    async def listed(self, prefix: str, limit: int | None = None) -> list[Stored]:
        """All objects whose keys begin with `prefix`, or the first `limit` of them; no sha256 is known of them."""
        found: list[Stored] = []
        token: str | None = None
        while True:
            more, following = await self._page(prefix, token)
            found += more
            if following is None or (limit is not None and len(found) >= limit):
                return found[:limit]
            if following == token:
                raise StoreRefused(f"{self.where(prefix)}: the store lists the same page for ever")
            token = following

    async def _page(self, prefix: str, token: str | None) -> tuple[list[Stored], str | None]:
        request: ListObjectsV2RequestTypeDef = {"Bucket": self._line.bucket, "Prefix": prefix}
        if token is not None:
            request["ContinuationToken"] = token

        async def ask() -> ListObjectsV2OutputTypeDef:
            answer = await self._line.once(prefix, lambda client: client.list_objects_v2(**request))
            # Some other document parses as an empty list, and an empty list is a statement here.
            if not {"Name", "MaxKeys", "KeyCount"} & answer.keys():
                raise OriginUnavailable(f"{self.where(prefix)}: the store answers with something else than a list")
            return answer

        answer = await self._line.retry(ask)
        following = answer.get("NextContinuationToken") if answer.get("IsTruncated") else None
        items = [item for item in answer.get("Contents", []) if "Key" in item]
        return [Stored(x["Key"], x.get("Size", -1), tag(x.get("ETag")), None) for x in items], following

    async def find(self, key: str) -> Stored | None:
        """What the store says about the object under this key, or None."""
        return await find(self._line, key)

    async def get(self, key: str, limit_bytes: int) -> bytes:
        """A small object; raises StoreRefused if it is larger than this."""

        async def read() -> bytes:
            answer = await self._line.once(key, lambda client: client.get_object(Bucket=self._line.bucket, Key=key))
            size = answer["ContentLength"]
            async with answer["Body"] as body:
                if size > limit_bytes:
                    raise StoreRefused(f"{self.where(key)}: it has {size} bytes, which cannot be right")
                data: bytes = await self._line.once(key, lambda _: body.read())
            if len(data) != size or data.lstrip().startswith((b"<?xml", b"<Error")):
                raise OriginUnavailable(f"{self.where(key)}: the store sent something else than the object")
            return data

        return await self._line.retry(read)

    async def put(self, key: str, data: bytes) -> None:
        """Write a small object, whatever is there."""
        await self._line.ask(
            key,
            lambda client: client.put_object(
                Bucket=self._line.bucket, Key=key, Body=data, ContentType=_JSON, ContentMD5=_md5(data)
            ),
        )

    async def create(self, key: str, data: bytes) -> bool:
        """Write a small object where there is none; False if there is another one.

        Where the store ignores conditions, whatever is there is replaced: do not rely on this alone.
        """
        try:
            await self._line.ask(
                key,
                lambda client: client.put_object(
                    Bucket=self._line.bucket,
                    Key=key,
                    Body=data,
                    ContentType=_JSON,
                    ContentMD5=_md5(data),
                    IfNoneMatch="*",
                ),
            )
        except ConditionFailed:
            # It may be ours: a request whose answer was lost is sent again, by libraries below us, too.
            return await self.get(key, max(2 * len(data), 1 << 16)) == data
        except StoreRefused:  # it does not know conditions (B2 answers 501)
            if await self.find(key) is not None:
                return False
            await self.put(key, data)
        return True

    async def delete(self, key: str) -> None:
        """Delete an object, if it is there."""
        await self._line.ask(key, lambda client: client.delete_object(Bucket=self._line.bucket, Key=key))

    async def abort_uploads(self, prefix: str) -> int:
        """Abort every multipart upload to keys that begin with `prefix`; how many there were."""
        found = await list_uploads(self._line, prefix)
        for key, upload_id in found:
            with contextlib.suppress(UploadGone):
                await abort_upload(self._line, key, upload_id)
        return len(found)

    async def copy(self, source: Stored, target: str) -> Stored:
        """Copy on the server's side, to a key that nobody else writes.

        Raises StoreRefused if the store cannot, or if there is something else than `source` by now.
        """
        return await copy_object(self._line, source, target)

    async def learn_check(self, key: str, data: bytes) -> Check:
        """Which checksum this store verifies: tried out once, with writes to this key, and remembered."""
        if self._check is None:
            self._check = await probe(self._line, key, data)
        return self._check

    async def send(self, path: Path, prints: Prints, key: str, progress: Callable[[int], None]) -> str:
        """Send a file to a key that nobody else writes, as what it was when its prints were taken; returns its ETag.

        Failed or cancelled, it leaves no multipart upload. Raises VerificationFailed if the store kept receiving other
        bytes, OSError of the file.
        """
        if len(prints.parts) > 1:
            return await self._send_in_parts(path, prints, key, progress)
        sender = Sender(self._line, self._plane, key, path, progress)
        headers = {
            "content-type": _TYPE,
            f"x-amz-meta-{SHA256_METADATA}": prints.sha256,
            **whole_headers(prints.check, prints.sha256, prints.parts[0]),
        }
        return await sender.put((0, prints.size), headers, payload=prints.sha256)

    async def _send_in_parts(self, path: Path, prints: Prints, key: str, progress: Callable[[int], None]) -> str:
        counted = Counted(progress)
        sender = Sender(self._line, self._plane, key, path, counted)
        try:
            return await Multipart(sender, prints, _TYPE).run(PARTS_AT_ONCE)
        except (OriginUnavailable, VerificationFailed) as error:
            if not error.retryable and not isinstance(error, UploadGone):
                raise
        # Once more from the beginning: to some stores (rclone) a part that they rejected ends the whole upload.
        progress(-counted.total)
        return await Multipart(sender, prints, _TYPE).run(PARTS_AT_ONCE)

    async def remote(self, key: str, size: int) -> Remote:
        """The bytes of an object, for the data plane; signed with the credentials as they are now."""
        signer = await self._line.signer()
        return Remote(size, lambda: signer.sign("GET", key), follow_redirects=False)


def _md5(data: bytes) -> str:
    return encoded(hashlib.md5(data, usedforsecurity=False).digest())
