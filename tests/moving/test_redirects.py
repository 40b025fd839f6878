"""Redirects are followed only where they are allowed, and nobody's credentials go to anybody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cachemgr.domain.errors import NotFound, OriginUnavailable
from cachemgr.moving.plane import DataPlane
from cachemgr.moving.remote import Remote, Request
from tests.moving.desk import MIB, fetch, noise, remote, seen, target
from tests.moving.origin import Exchange, FaultyOrigin

CODES = [301, 302, 303, 307, 308]


def to(location: str, code: int = 302) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.answer(code, b"over there", Location=location)


@pytest.fixture
def other() -> Iterator[FaultyOrigin]:
    with FaultyOrigin().running() as it:
        yield it


@pytest.mark.parametrize("code", CODES)
async def test_a_redirect_to_another_origin_leaves_the_credentials_behind(
    plane: DataPlane, origin: FaultyOrigin, other: FaultyOrigin, tmp_path: Path, code: int
) -> None:
    other.files["/cdn?sig=1"] = other.files["/cdn"] = data = noise(MIB)
    origin.fail("/f", to(f"{other.url}/cdn?sig=1", code))
    headers = {"Authorization": "Bearer s", "Cookie": "s", "X-Amz-Security-Token": "s", "X-Api-Key": "s", "Accept": "*"}
    found = await plane.fetch(
        Remote(len(data), lambda: Request(f"{origin.url}/f", headers), True),
        [target(tmp_path / "f", len(data))],
        git_sha1=True,
        progress=lambda _: None,
    )
    assert found == seen(data)
    assert origin.asked[0].headers["authorization"] == "Bearer s"
    assert set(other.asked[0].headers) == {"host", "user-agent", "accept", "accept-encoding"}


async def test_credentials_do_not_come_back_after_a_detour(
    plane: DataPlane, origin: FaultyOrigin, other: FaultyOrigin, tmp_path: Path
) -> None:
    origin.fail("/f", to(f"{other.url}/detour"))
    other.fail("/detour", to(f"{origin.url}/g"))
    origin.files["/g"] = data = noise(1000)
    await fetch(plane, origin, data, tmp_path / "f")
    assert "authorization" in origin.asked[0].headers
    assert "authorization" not in origin.asked[1].headers


async def test_within_one_origin_they_stay(plane: DataPlane, origin: FaultyOrigin, tmp_path: Path) -> None:
    origin.files["/g"] = data = noise(1000)
    origin.fail("/f", to("/g"))
    await fetch(plane, origin, data, tmp_path / "f")
    assert [asked.headers["authorization"] for asked in origin.asked] == ["Bearer secret"] * 2
    assert origin.connections == 1


@pytest.mark.parametrize("code", CODES)
async def test_where_they_are_not_allowed_no_redirect_is_followed(
    plane: DataPlane, origin: FaultyOrigin, other: FaultyOrigin, tmp_path: Path, code: int
) -> None:
    origin.fail("/f", to(f"{other.url}/f", code))
    with pytest.raises(OriginUnavailable, match="redirects"):
        await plane.fetch(
            remote(origin, "/f", 100, follow=False),
            [target(tmp_path / "f", 100)],
            git_sha1=False,
            progress=lambda _: None,
        )
    assert other.asked == []


@pytest.mark.parametrize(
    "location",
    ["", "ftp://127.0.0.1/f", "file:///etc/passwd", "http://user:pass@127.0.0.1/f", "http://[", "gopher:x"],
)
async def test_a_bad_location_is_refused(plane: DataPlane, origin: FaultyOrigin, tmp_path: Path, location: str) -> None:
    origin.fail("/f", to(location))
    with pytest.raises(OriginUnavailable):
        await fetch(plane, origin, noise(100), tmp_path / "f")


async def test_a_circle_ends(plane: DataPlane, origin: FaultyOrigin, tmp_path: Path) -> None:
    origin.fail("/f", *([to("/f")] * 50))
    with pytest.raises(OriginUnavailable, match="more than 5 redirects"):
        await fetch(plane, origin, noise(100), tmp_path / "f")
    assert len(origin.asked) == 6


async def test_the_ranges_of_a_file_share_one_redirect(
    plane: DataPlane, origin: FaultyOrigin, other: FaultyOrigin, tmp_path: Path
) -> None:
    data = other.files["/cdn"] = noise(40 * MIB)
    origin.fail("/f", *([to(f"{other.url}/cdn")] * 50))
    assert await fetch(plane, origin, data, tmp_path / "f") == seen(data)
    assert len(other.asked) == 5
    assert len(origin.asked) <= 4  # those of the first ranges, which were on their way together


async def test_a_redirect_that_expired_is_asked_for_again(
    plane: DataPlane, origin: FaultyOrigin, other: FaultyOrigin, tmp_path: Path
) -> None:
    data = other.files["/cdn"] = noise(18 * MIB)
    for n in range(100):
        url = f"/cdn?sig={n}"
        origin.fail("/f", to(other.url + url))
        other.fail(url, Exchange.serve, *([lambda exchange: exchange.answer(403)] * 100))
    assert await fetch(plane, origin, data, tmp_path / "f") == seen(data)


async def test_what_is_missing_behind_a_redirect_is_missing(
    plane: DataPlane, origin: FaultyOrigin, other: FaultyOrigin, tmp_path: Path
) -> None:
    origin.fail("/f", *([to(f"{other.url}/gone?sig=secret")] * 5))
    with pytest.raises(NotFound) as caught:
        await fetch(plane, origin, noise(100), tmp_path / "f")
    assert "secret" not in str(caught.value)
