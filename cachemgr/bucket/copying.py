"""Copying an object on the server's side: nothing is sent, and nothing is taken for granted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cachemgr.aio.crowd import each
from cachemgr.aio.lastly import lastly
from cachemgr.bucket.faults import StoreRefused, Unsupported
from cachemgr.bucket.line import Line
from cachemgr.bucket.multipart import ABORT_SECONDS, abort_upload
from cachemgr.bucket.stored import SHA256_METADATA, Stored, find, tag

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import CompletedPartTypeDef

LARGEST_COPY = 5 << 30
PART = 1 << 30
AT_ONCE = 4


async def copy_object(line: Line, source: Stored, target: str) -> Stored:
    """Copy an object, which must still be like `source`, to a key that nobody else writes; what is there then.

    Raises StoreRefused (and what any request may) if it is not, or if the store cannot.
    """
    small = source.size <= LARGEST_COPY
    if small:
        etag = await _at_once(line, source, target)
        if source.md5 is not None and etag == source.md5:  # one request, and it says that the bytes are the same
            return Stored(target, source.size, etag, source.sha256)
    found = await find(line, source.key)
    if found is None or not found.is_like(source):
        raise StoreRefused(f"{line.where(source.key)}: it is not what it was")
    if not small:
        await _in_parts(line, source, target)
    copied = await find(line, target)
    if copied is None or not copied.is_like(replace(source, etag=None)):
        raise StoreRefused(f"{line.where(target)}: the store's copy is not like its source")
    return copied


async def _at_once(line: Line, source: Stored, target: str) -> str | None:
    answer = await line.ask(
        target,
        lambda client: client.copy_object(
            Bucket=line.bucket, Key=target, CopySource={"Bucket": line.bucket, "Key": source.key}
        ),
    )
    return tag(answer.get("CopyObjectResult", {}).get("ETag"))


async def _in_parts(line: Line, source: Stored, target: str) -> None:
    noted = {SHA256_METADATA: source.sha256} if source.sha256 else {}
    begun = await line.ask(
        target,
        lambda client: client.create_multipart_upload(Bucket=line.bucket, Key=target, Metadata=noted),
    )
    upload_id = begun["UploadId"]

    async def part(number: int) -> CompletedPartTypeDef:
        start = (number - 1) * PART
        last = min(start + PART, source.size) - 1
        answer = await line.ask(
            target,
            lambda client: client.upload_part_copy(
                Bucket=line.bucket,
                Key=target,
                UploadId=upload_id,
                PartNumber=number,
                CopySource={"Bucket": line.bucket, "Key": source.key},
                CopySourceRange=f"bytes={start}-{last}",
            ),
        )
        etag = answer["CopyPartResult"].get("ETag")
        if etag is None:  # rclone says that it copied, and did not
            raise Unsupported(f"{line.where(target)}: the store cannot copy in parts")
        return {"PartNumber": number, "ETag": etag}

    try:
        parts = await each(range(1, -(-source.size // PART) + 1), part, AT_ONCE)
        await line.ask(
            target,
            lambda client: client.complete_multipart_upload(
                Bucket=line.bucket, Key=target, UploadId=upload_id, MultipartUpload={"Parts": parts}
            ),
        )
    except BaseException:
        abort = abort_upload(line, target, upload_id)
        await lastly(abort, "aborting a multipart copy", ABORT_SECONDS)
        raise
