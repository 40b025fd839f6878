"""Credentials: wrong ones are said to be wrong, and no credential is ever said."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cachemgr.bucket.bucket import Bucket
from cachemgr.bucket.prints import take_prints
from cachemgr.domain.errors import CachemgrError, Unauthorized
from cachemgr.moving.target import Target
from tests.services.s3 import S3Server, rclone_server
from tests.services.s3_faults import Fault, faulty_store
from tests.services.stores import Rooms, access_to, open_rooms

pytestmark = pytest.mark.integration

SECRET, TOKEN = "wJalrXUtnFEMI-not-a-real-one", "FwoGZXIvYXdzEBYaDH-not-a-real-one"


@pytest.fixture(scope="module")
def checking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with rclone_server(tmp_path_factory.mktemp("checking")) as running:
        yield running


async def everything(rooms: Rooms, bucket: Bucket, path: Path) -> list[CachemgrError]:
    """Try all that can be asked; what went wrong."""
    await rooms.pool.run((path / "file").write_bytes, os.urandom(5))
    await rooms.pool.run((path / "back").touch)
    prints = await take_prints(rooms.pool, path / "file", 5, "none")
    target = [Target(path / "back", local=True)]

    async def fetch() -> None:
        remote = await bucket.remote("x", 5)
        await rooms.plane.fetch(remote, target, git_sha1=False, progress=lambda _: None)

    errors: list[CachemgrError] = []
    deeds = (
        lambda: bucket.put("x", b"12345"),
        lambda: bucket.get("x", 100),
        lambda: bucket.find("x"),
        lambda: bucket.listed("x"),
        lambda: bucket.send(path / "file", prints, "x", lambda _: None),
        fetch,
    )
    for deed in deeds:
        try:
            await deed()
        except CachemgrError as error:
            errors.append(error)
    return errors


async def test_a_wrong_secret_is_unauthorized_whatever_is_asked(checking: S3Server, tmp_path: Path) -> None:
    access = replace(access_to(checking), secret_access_key=SECRET)
    async with open_rooms(checking, lambda _: access) as rooms:
        errors = await everything(rooms, await rooms.buckets.open("some-bucket"), tmp_path)
    assert len(errors) == 6
    assert {type(error) for error in errors} == {Unauthorized}


async def test_no_credentials_are_said_to_be_missing(
    checking: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    access = replace(access_to(checking), access_key_id=None, secret_access_key=None)
    async with open_rooms(checking, lambda _: access) as rooms:
        bucket = await rooms.buckets.open("some-bucket")
        with pytest.raises(Unauthorized, match="no usable credentials"):
            await bucket.listed("x")
        with pytest.raises(Unauthorized, match="no credentials"):
            await bucket.remote("x", 1)


@pytest.mark.parametrize(
    ("code", "hint"), [("ExpiredToken", "expired"), ("RequestTimeTooSkewed", "clock"), ("AccessDenied", "may do")]
)
async def test_the_hint_says_what_is_wrong_with_them(checking: S3Server, code: str, hint: str) -> None:
    with faulty_store(checking) as faulty:
        async with open_rooms(faulty.server) as rooms:
            bucket = await rooms.bucket()
            faulty.on("GET", fault=Fault("answer", status=403, body=f"<Error><Code>{code}</Code></Error>".encode()))
            with pytest.raises(Unauthorized) as caught:
                await bucket.listed("x")
    assert hint in caught.value.hint


@pytest.mark.parametrize("kind", ["answer", "lose", "drop", "cut", None])
async def test_no_secret_is_in_a_log_line_or_an_error(
    checking: S3Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str | None
) -> None:
    secrets = [TOKEN, checking.secret_access_key, "AWS4-HMAC", "Signature="]
    caplog.set_level(logging.DEBUG)
    with faulty_store(checking) as faulty:
        access = replace(access_to(faulty.server), session_token=TOKEN)
        async with open_rooms(faulty.server, lambda _: access) as rooms:
            bucket = await rooms.bucket()
            # What is asked is thrown back as the answer, as debugging proxies do.
            body = f"<Error><Code>{TOKEN}</Code><Message>{TOKEN} {checking.secret_access_key}</Message></Error>"
            if kind is not None:
                fault = Fault(kind, status=500, body=body.encode())  # type: ignore[arg-type]  # one of its literals
                faulty.on("/", fault=fault, times=999)
            errors = await everything(rooms, bucket, tmp_path)
    assert (errors == []) is (kind is None)
    told = caplog.text + repr(access) + "".join("".join(traceback.format_exception(error)) for error in errors)
    told += "".join(f"{error.detail} {error.hint} {error.fields}" for error in errors)
    assert [secret for secret in secrets if secret in told] == []
    assert [one for one in caplog.records if TOKEN in str(one.__dict__)] == []
