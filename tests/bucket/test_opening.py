"""Opening buckets: nothing is imported before, requests go where the SDK's own go, and stores are told apart."""

from __future__ import annotations

import subprocess
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from cachemgr.aio.iopool import IoPool
from cachemgr.bucket.access import Access
from cachemgr.bucket.buckets import Buckets
from cachemgr.domain.errors import Usage
from cachemgr.moving.plane import DataPlane
from tests.services.s3 import S3Server
from tests.services.stores import access_to, open_rooms


def with_keys(access: Access) -> Access:
    return replace(access, access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key="not-a-real-one")


def test_the_s3_library_is_not_imported_before_a_bucket_is_opened() -> None:
    code = (
        "import sys, cachemgr.bucket.buckets, cachemgr.checkpoints.service\n"
        "print([name for name in sys.modules if 'botocore' in name or name == 'aiohttp'])"
    )
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert asked.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("access", "bucket", "url"),
    [
        (Access(region="eu-west-1"), "my-bucket", "https://my-bucket.s3.eu-west-1.amazonaws.com"),
        (Access(region="us-east-1"), "my-bucket", "https://my-bucket.s3.amazonaws.com"),
        (Access(region="cn-north-1"), "my-bucket", "https://my-bucket.s3.cn-north-1.amazonaws.com.cn"),
        (Access(region="eu-west-1"), "my.bucket", "https://s3.eu-west-1.amazonaws.com/my.bucket"),
        (Access(region="eu-west-1"), "My_Bucket", "https://s3.eu-west-1.amazonaws.com/My_Bucket"),
        (Access(region="eu-west-1", path_style=True), "my-bucket", "https://s3.eu-west-1.amazonaws.com/my-bucket"),
        (Access("https://s3api-eu-ro-1.example.io/", "eu-ro-1"), "vol1", "https://s3api-eu-ro-1.example.io/vol1"),
        (Access("http://minio.example:9000", path_style=False), "my-bucket", "http://my-bucket.minio.example:9000"),
        (Access("http://127.0.0.1:9000/base"), "my-bucket", "http://127.0.0.1:9000/base/my-bucket"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_we_sign_goes_where_the_sdk_would_send_it(access: Access, bucket: str, url: str) -> None:
    from cachemgr.bucket.session import open_store  # noqa: PLC0415  # slow to import

    access = with_keys(access)
    asked: list[str] = []

    class Stop(Exception):
        pass

    def before_send(request: object, **_: object) -> None:
        asked.append(str(getattr(request, "url", "")))
        raise Stop

    pool = IoPool(1, "test")
    async with AsyncExitStack() as stack:
        stack.callback(pool.close)
        store = await open_store(access, pool, stack)
        signed = (await store.signer(bucket)).sign("GET", "a b/é+%&~2")
        store.client.meta.events.register("before-send.s3", before_send)
        with pytest.raises(Stop):
            await store.client.get_object(Bucket=bucket, Key="a b/é+%&~2")
    assert asked == [signed.url]
    assert signed.url == f"{url}/a%20b/%C3%A9%2B%25%26~2"
    assert signed.headers["X-Amz-Content-SHA256"] == "UNSIGNED-PAYLOAD"


@pytest.mark.parametrize("endpoint", ["not a url", "ftp://x", "http://", "s3.example.com"])
async def test_an_endpoint_that_is_none_is_a_mistake_of_the_caller(endpoint: str) -> None:
    pool, plane = IoPool(1, "test"), DataPlane()
    buckets = Buckets(lambda _: with_keys(Access(endpoint)), plane, pool)
    try:
        with pytest.raises(Usage):
            await (await buckets.open("some-bucket")).listed("")
    finally:
        await buckets.close()
        plane.close()
        pool.close()


@pytest.mark.integration
@pytest.mark.parametrize("server", ["rclone"], indirect=True)
async def test_each_bucket_has_its_own_store(server: S3Server, tmp_path: Path) -> None:
    good = access_to(server)
    asked: list[str] = []

    def access(bucket: str) -> Access:
        asked.append(bucket)
        return good if bucket.startswith("bucket-") else with_keys(Access("http://127.0.0.1:9"))

    async with open_rooms(server, access) as rooms:
        mine = await rooms.bucket()
        await mine.put("x", b"1")
        other = await rooms.buckets.open("elsewhere")
        assert await rooms.buckets.open("elsewhere") is other
        with pytest.raises(Exception, match="does not answer"):
            await other.put("x", b"1")
    assert asked[-1] == "elsewhere"
    assert len(asked) == 2
