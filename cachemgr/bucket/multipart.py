"""A multipart upload of which nothing is left behind: begun, sent, completed and looked at, or aborted."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachemgr.aio.crowd import each
from cachemgr.aio.lastly import lastly
from cachemgr.bucket.checks import encoded, part_headers
from cachemgr.bucket.faults import StoreRefused, UploadGone
from cachemgr.bucket.line import Line
from cachemgr.bucket.prints import Prints
from cachemgr.bucket.sender import Sender
from cachemgr.bucket.stored import SHA256_METADATA, Stored, find
from cachemgr.domain.errors import OriginUnavailable

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import CompletedPartTypeDef, CreateMultipartUploadRequestTypeDef

ABORT_SECONDS = 5.0

_MD5 = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Multipart:
    """One file in parts, to a key that nobody else writes."""

    sender: Sender
    prints: Prints
    content_type: str

    async def run(self, at_once: int) -> str:
        """Send it and return its ETag. Cancelled or failed, it aborts its upload."""
        upload_id = await self._begin()
        try:
            numbered = enumerate(self.prints.ranges, 1)
            parts = await each(numbered, lambda one: self._send(upload_id, *one), at_once)
            return await self._complete(upload_id, parts)
        except BaseException:
            abort = abort_upload(self.sender.line, self.sender.key, upload_id)
            await lastly(abort, "aborting a multipart upload", ABORT_SECONDS)
            raise

    async def _begin(self) -> str:
        line, asked = self.sender.line, 0
        request: CreateMultipartUploadRequestTypeDef = {
            "Bucket": line.bucket,
            "Key": self.sender.key,
            "ContentType": self.content_type,
            "Metadata": {SHA256_METADATA: self.prints.sha256},
        }
        if self.prints.check == "amz":
            request["ChecksumAlgorithm"] = "CRC32"

        async def create() -> str:
            nonlocal asked
            asked += 1
            answer = await line.once(self.sender.key, lambda client: client.create_multipart_upload(**request))
            return answer["UploadId"]

        upload_id: str | None = None
        try:
            upload_id = await line.retry(create)
            return upload_id
        finally:
            # An upload whose id got lost on its way back is there all the same. The key is ours, so they all are.
            if asked > 1 or upload_id is None:
                await lastly(self._sweep(upload_id), "aborting lost multipart uploads", ABORT_SECONDS)

    async def _send(self, upload_id: str, number: int, part: tuple[int, int]) -> CompletedPartTypeDef:
        digest = self.prints.parts[number - 1]
        query = {"partNumber": str(number), "uploadId": upload_id}
        etag = await self.sender.put(part, part_headers(self.prints.check, digest), query=query)
        if self.prints.check == "amz":
            return {"PartNumber": number, "ETag": etag, "ChecksumCRC32": encoded(digest)}
        return {"PartNumber": number, "ETag": etag}

    async def _complete(self, upload_id: str, parts: list[CompletedPartTypeDef]) -> str:
        line, key = self.sender.line, self.sender.key
        failure: OriginUnavailable | None = None
        try:
            await line.ask(
                key,
                lambda client: client.complete_multipart_upload(
                    Bucket=line.bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}
                ),
            )
        except OriginUnavailable as error:
            failure = error  # its answer may be what got lost, and the second one is that there is no such upload
        stored = await find(line, key)
        if stored is None or not self._is_ours(stored, parts, sure=failure is not None):
            raise failure or StoreRefused(f"{line.where(key)}: the store does not have what it completed")
        return stored.etag or ""

    def _is_ours(self, stored: Stored, parts: list[CompletedPartTypeDef], *, sure: bool) -> bool:
        """True if this object is what was sent; `sure`: its size alone is not enough, an older one may have it."""
        if stored.size != self.prints.size:
            return False
        if stored.sha256 is not None:
            return stored.sha256 == self.prints.sha256
        return not sure or stored.etag == _composite([part["ETag"] for part in parts])

    async def _sweep(self, keep: str | None) -> None:
        line, key = self.sender.line, self.sender.key
        for found, upload_id in await list_uploads(line, key):
            if found == key and upload_id != keep:
                await abort_upload(line, key, upload_id)


async def list_uploads(line: Line, prefix: str) -> list[tuple[str, str]]:
    """`(key, upload id)` of the uploads that were begun and not ended, to keys that begin with `prefix`."""
    try:
        answer = await line.ask(prefix, lambda client: client.list_multipart_uploads(Bucket=line.bucket, Prefix=prefix))
    except UploadGone:  # rclone's way to say that there are none
        return []
    return [(x["Key"], x["UploadId"]) for x in answer.get("Uploads", []) if "Key" in x and "UploadId" in x]


async def abort_upload(line: Line, key: str, upload_id: str) -> None:
    """End an upload without a result; what was sent of it is deleted."""
    await line.ask(key, lambda client: client.abort_multipart_upload(Bucket=line.bucket, Key=key, UploadId=upload_id))


def _composite(etags: list[str]) -> str | None:
    """The ETag that most stores give to an upload of these parts; None where theirs are no MD5."""
    if not all(_MD5.fullmatch(etag) for etag in etags):
        return None
    together = hashlib.md5(b"".join(bytes.fromhex(etag) for etag in etags), usedforsecurity=False)
    return f"{together.hexdigest()}-{len(etags)}"
