"""Whatever an origin does, a fetch brings the right bytes or a clear error, and asks again only for what is missing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cachemgr.domain.errors import CachemgrError, NotFound, OriginUnavailable, Unauthorized
from cachemgr.moving.patience import Patience
from cachemgr.moving.plane import DataPlane
from cachemgr.moving.remote import Remote, Request
from tests.moving.desk import MIB, fetch, noise, remote, seen, target
from tests.moving.origin import Exchange, FaultyOrigin, Hangup

SMALL, LARGE = 3 * MIB + 17, 17 * MIB + 17


def part_then(end: Callable[[Exchange], None], count: int) -> Callable[[Exchange], None]:
    """Answer well, send `count` bytes, and then something happens."""

    def fault(exchange: Exchange) -> None:
        start, _ = exchange.good_head()
        exchange.sock.sendall(exchange.content[start : start + count])
        exchange.origin.sent(exchange.asked.path, count)
        end(exchange)

    return fault


def hang_up(_: Exchange) -> None:
    raise Hangup


def status(code: int, **headers: str) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.answer(code, b"sorry", **headers)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("end", [hang_up, Exchange.reset], ids=["short", "reset"])
async def test_a_broken_body_goes_on_from_where_it_broke(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path, size: int, end: Callable[[Exchange], None]
) -> None:
    data = noise(size)
    origin.fail("/f", *(part_then(end, MIB + n) for n in range(2)))
    assert await fetch(plane, origin, data, tmp_path / "f") == seen(data)
    # What the kernel had received when the reset came is lost; everything else is fetched once.
    assert origin.bytes_sent["/f"] <= size + 2 * (MIB + 1)


async def test_a_body_that_keeps_breaking_gets_there(plane: DataPlane, origin: FaultyOrigin, tmp_path: Path) -> None:
    data = noise(SMALL)
    origin.fail("/f", *(part_then(hang_up, 300_000) for _ in range(9)))
    assert await fetch(plane, origin, data, tmp_path / "f") == seen(data)


async def test_a_trickle_is_no_progress(plane: DataPlane, origin: FaultyOrigin, tmp_path: Path) -> None:
    origin.fail("/f", *(part_then(hang_up, 1) for _ in range(100)))
    with pytest.raises(OriginUnavailable, match="early, 5 times"):
        await fetch(plane, origin, noise(SMALL), tmp_path / "f")


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    it = threading.Event()
    yield it
    it.set()


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_a_stall_counts_as_broken(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path, size: int, gate: threading.Event
) -> None:
    data = noise(size)
    origin.fail("/f", part_then(lambda _: void(gate.wait(15)), MIB))
    began = time.monotonic()
    assert await fetch(plane, origin, data, tmp_path / "f") == seen(data)
    assert 0.9 < time.monotonic() - began < 10


async def test_an_origin_that_never_answers_is_given_up(
    origin: FaultyOrigin, tmp_path: Path, gate: threading.Event
) -> None:
    origin.fail("/f", *([lambda _: void(gate.wait(15))] * 3))
    plane = DataPlane(patience=Patience(stall_seconds=0.1, backoff_seconds=0.01, attempts=3))
    with pytest.raises(OriginUnavailable, match=r"TimeoutError.*3 times"):
        await fetch(plane, origin, noise(SMALL), tmp_path / "f")
    plane.close()


@pytest.mark.parametrize(
    ("code", "size"), [*((n, SMALL) for n in (408, 429, 500, 502, 504)), (503, SMALL), (503, LARGE)]
)
async def test_a_temporary_status_is_asked_again(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path, size: int, code: int
) -> None:
    data = noise(size)
    origin.fail("/f", *([status(code)] * 3))
    assert await fetch(plane, origin, data, tmp_path / "f") == seen(data)


async def test_retry_after_is_honoured(plane: DataPlane, origin: FaultyOrigin, tmp_path: Path) -> None:
    data = noise(SMALL)
    origin.fail("/f", status(429, Retry_After="1"))
    began = time.monotonic()
    assert await fetch(plane, origin, data, tmp_path / "f") == seen(data)
    assert 1 <= time.monotonic() - began < 5


async def test_retry_after_is_honoured_up_to_a_limit(origin: FaultyOrigin, tmp_path: Path) -> None:
    origin.fail("/f", status(503, Retry_After="86400"), status(503, Retry_After="Fri, 31 Dec 2099 23:59:59 GMT"))
    plane = DataPlane(patience=Patience(longest_wait_seconds=0.05))
    assert await fetch(plane, origin, noise(SMALL), tmp_path / "f") == seen(noise(SMALL))
    plane.close()


async def test_patience_ends(plane: DataPlane, origin: FaultyOrigin, tmp_path: Path) -> None:
    origin.fail("/f", *([status(503)] * 20))
    with pytest.raises(OriginUnavailable, match="answers 503, 5 times"):
        await fetch(plane, origin, noise(SMALL), tmp_path / "f")
    assert len(origin.asked) == 5


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize(
    ("code", "error"),
    [
        (401, Unauthorized),
        (403, Unauthorized),
        (404, NotFound),
        (410, NotFound),
        (416, OriginUnavailable),
        (400, OriginUnavailable),
        (204, OriginUnavailable),
        (304, OriginUnavailable),
    ],
)
async def test_a_final_status_is_final(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path, size: int, code: int, error: type[CachemgrError]
) -> None:
    origin.fail("/f", *([status(code)] * 8))
    with pytest.raises(error, match=f"answers {code}"):
        await fetch(plane, origin, noise(size), tmp_path / "f")
    assert len(origin.asked) <= 4


async def test_the_origin_s_own_error_code_is_passed_on(plane: DataPlane, origin: FaultyOrigin, tmp_path: Path) -> None:
    origin.fail("/f", status(403, X_Error_Code="GatedRepo"))
    with pytest.raises(Unauthorized, match=r"403 \(GatedRepo\)"):
        await fetch(plane, origin, noise(SMALL), tmp_path / "f")


def whole_object(exchange: Exchange) -> None:
    exchange.answer(200, exchange.content)


def partial(content_range: str, code: int = 206) -> Callable[[Exchange], None]:
    def fault(exchange: Exchange) -> None:
        start, end = exchange.asked.span(len(exchange.content))
        size = len(exchange.content)
        said = content_range.format(start=start, last=end - 1, size=size, off=start + 1, more=size + 1)
        exchange.answer(code, exchange.content[start:end], Content_Range=said)

    return fault


WRONG_RANGES = ["bytes {off}-{last}/{size}", "bytes {start}-{last}/{more}", "bytes {start}-{off}/{size}", "lines 1-2/3"]


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("said", WRONG_RANGES)
async def test_a_wrong_content_range_is_refused(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path, said: str, size: int
) -> None:
    origin.fail("/f", *([partial(said)] * 8))
    with pytest.raises(OriginUnavailable):
        await fetch(plane, origin, noise(size), tmp_path / "f")


async def test_a_206_that_names_no_range_is_refused(plane: DataPlane, origin: FaultyOrigin, tmp_path: Path) -> None:
    origin.fail("/f", lambda exchange: exchange.answer(206, exchange.content))
    with pytest.raises(OriginUnavailable, match="does not send the range"):
        await fetch(plane, origin, noise(SMALL), tmp_path / "f")


@pytest.mark.parametrize("code", [200, 206])
async def test_the_right_content_range_counts_whatever_the_status(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path, code: int
) -> None:
    data = noise(LARGE)
    origin.fail("/f", *([partial("bytes {start}-{last}/{size}", code)] * 20))
    assert await fetch(plane, origin, data, tmp_path / "f") == seen(data)


async def test_a_whole_object_where_a_range_was_asked_is_never_taken_for_it(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path
) -> None:
    origin.fail("/f", *([whole_object] * 20))
    with pytest.raises(OriginUnavailable, match="does not send the range"):
        await fetch(plane, origin, noise(LARGE), tmp_path / "f")


async def test_a_whole_object_in_answer_to_the_rest_is_refused(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path
) -> None:
    origin.fail("/f", part_then(hang_up, MIB), whole_object)
    with pytest.raises(OriginUnavailable, match="does not send the range"):
        await fetch(plane, origin, noise(SMALL), tmp_path / "f")


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_an_encoding_nobody_asked_for_is_refused(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path, size: int
) -> None:
    origin.fail("/f", *([lambda e: e.answer(200, e.content, Content_Encoding="gzip")] * 8))
    with pytest.raises(OriginUnavailable, match="gzip"):
        await fetch(plane, origin, noise(size), tmp_path / "f")
    assert origin.asked[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("wrong", [-1, 1])
async def test_another_size_than_promised_is_refused(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path, wrong: int
) -> None:
    origin.files["/f"] = noise(SMALL)
    with pytest.raises(OriginUnavailable, match="has changed"):
        await plane.fetch(
            remote(origin, "/f", SMALL + wrong),
            [target(tmp_path / "f", SMALL + wrong)],
            git_sha1=False,
            progress=lambda _: None,
        )


def chunked(extra: bytes) -> Callable[[Exchange], None]:
    def fault(exchange: Exchange) -> None:
        exchange.head(200, {"Transfer-Encoding": "chunked"})
        body = exchange.content + extra
        for at in range(0, len(body), 100_000):
            piece = body[at : at + 100_000]
            exchange.sock.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        exchange.sock.sendall(b"0\r\n\r\n")

    return fault


async def test_a_body_of_unannounced_length_is_counted(plane: DataPlane, origin: FaultyOrigin, tmp_path: Path) -> None:
    data = noise(SMALL)
    origin.fail("/f", chunked(b""))
    assert await fetch(plane, origin, data, tmp_path / "f") == seen(data)
    origin.fail("/f", chunked(b"!"))
    with pytest.raises(OriginUnavailable, match="more bytes"):
        await fetch(plane, origin, data, tmp_path / "g")


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_a_file_that_changes_meanwhile_is_not_mixed(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path, size: int
) -> None:
    def and_change(exchange: Exchange) -> None:
        exchange.origin.etags["/f"] = '"another"'
        raise Hangup

    origin.fail("/f", part_then(and_change, MIB))
    with pytest.raises(OriginUnavailable, match="changed while"):
        await fetch(plane, origin, noise(size), tmp_path / "f")


async def test_a_connection_that_was_closed_while_idle_is_no_failure(origin: FaultyOrigin, tmp_path: Path) -> None:
    plane = DataPlane(patience=Patience(attempts=1))
    await fetch(plane, origin, noise(SMALL), tmp_path / "a")
    origin.hang_up()
    await fetch(plane, origin, noise(SMALL), tmp_path / "b")
    origin.fail("/f", hang_up)  # closed at the very moment when the next request arrives
    await fetch(plane, origin, noise(SMALL), tmp_path / "c")
    plane.close()


async def test_nobody_listens(plane: DataPlane, origin: FaultyOrigin, tmp_path: Path) -> None:
    with pytest.raises(OriginUnavailable, match="cannot connect"):
        await plane.fetch(
            Remote(5, lambda: Request("http://127.0.0.1:1/f", {}), True),
            [target(tmp_path / "f", 5)],
            git_sha1=False,
            progress=lambda _: None,
        )


@pytest.mark.parametrize(
    "url", ["ftp://host/f", "file:///etc/passwd", "http://", "http://host:99999/", "nonsense", "http://[::1/f"]
)
async def test_only_http_urls_are_asked(plane: DataPlane, tmp_path: Path, url: str) -> None:
    with pytest.raises(OriginUnavailable):
        await plane.fetch(
            Remote(5, lambda: Request(url, {}), True),
            [target(tmp_path / "f", 5)],
            git_sha1=False,
            progress=lambda _: None,
        )


@pytest.mark.parametrize("bad", ["a b", "a\nHost: evil", "a\r\n\r\n", "\x7f"])
async def test_nothing_can_be_smuggled_into_a_request(
    plane: DataPlane, origin: FaultyOrigin, tmp_path: Path, bad: str
) -> None:
    for request in (Request(f"{origin.url}/{bad}", {}), Request(f"{origin.url}/f", {"X": bad})):
        if request.headers.get("X") in ("a b", "\x7f"):
            continue  # odd, but a header's value may be so
        with pytest.raises(CachemgrError):
            await plane.fetch(
                Remote(5, lambda request=request: request, True),  # type: ignore[misc]  # mypy cannot type the default
                [target(tmp_path / f"f{len(request.headers)}", 5)],
                git_sha1=False,
                progress=lambda _: None,
            )
    assert [asked.path for asked in origin.asked if asked.path != "/a"] == []


def void(_: object) -> None:
    """Drop a result."""
