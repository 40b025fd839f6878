"""An origin that sends anything at all gets an error of ours or the right bytes through, and nothing else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from http.client import HTTPMessage
from pathlib import Path

import pytest

from cachemgr.domain.digest import Seen
from cachemgr.domain.errors import CachemgrError
from cachemgr.moving.judgement import Asked, judge
from cachemgr.moving.patience import Broken, Patience
from cachemgr.moving.plane import DataPlane
from tests.moving.desk import holds, noise, remote, seen, target
from tests.moving.origin import Exchange, FaultyOrigin, Hangup

SIZE = 40_000
ROUNDS = 200
GOOD = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 40000\r\nContent-Range: bytes 0-39999/40000\r\nETag: "e"\r\n'
    b"Content-Encoding: identity\r\nConnection: keep-alive\r\n\r\n"
)
SPICE = [
    *(
        b"\0",
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b": ",
        b"-1",
        b"99999999999999999999",
        b"chunked",
        b"\xff\xfe",
        b"302",
        b"416",
    ),
    *(b"Transfer-Encoding: ", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/9", b"bytes */0", b"%s%n", b"Location: //\r\n"),
    b"A" * 70_000,
]


def mangled(dice: random.Random) -> bytes:
    """A good answer's head with some of its bytes replaced, removed or added to."""
    head = bytearray(GOOD)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(head))
        until = min(len(head), at + dice.randint(0, 12))
        head[at:until] = dice.choice(SPICE) if dice.random() < 0.6 else dice.randbytes(dice.randint(0, 4))
    return bytes(head)


def answering(head: bytes) -> Callable[[Exchange], None]:
    def fault(exchange: Exchange) -> None:
        exchange.sock.sendall(head + exchange.content)
        raise Hangup

    return fault


async def test_any_answer_is_refused_or_right(origin: FaultyOrigin, tmp_path: Path) -> None:
    dice, data = random.Random(20), noise(SIZE)
    origin.files["/f"] = data
    plane = DataPlane(patience=Patience(attempts=1, stall_seconds=0.3, longest_wait_seconds=0.01))
    passed = 0
    for number in range(ROUNDS):
        into = target(tmp_path / str(number), SIZE)
        origin.faults.clear()
        origin.fail("/f", answering(mangled(dice)))
        fetch = plane.fetch(remote(origin, "/f", SIZE), [into], git_sha1=True, progress=lambda _: None)
        (found,) = await asyncio.gather(fetch, return_exceptions=True)
        if isinstance(found, Seen):
            passed += found == seen(data)
            # What is not right shows in the digest: the head may have moved the body.
            assert (found == seen(data)) == holds(into.path, data)
        else:
            assert isinstance(found, CachemgrError)
            assert len(found.detail) < 400
            assert "secret" not in found.detail
    assert 0 < passed < ROUNDS
    plane.close()


@pytest.mark.parametrize(
    ("name", "value", "seconds"),
    [
        ("Retry-After", "7", 7.0),
        ("Retry-After", " 7 ", 7.0),
        ("Retry-After", "-7", None),
        ("Retry-After", "²", None),
        ("Retry-After", "soon", None),
        ("Retry-After", "9" * 400, None),
        ("Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Retry-After", "Thu, 99 Jan 9999999 00:00:00 GMT", None),
        ("RateLimit", '"resolvers";r=0;t=87', 87.0),
        ("RateLimit", '"resolvers";r=12;t=87', None),
        ("Other", "7", None),
    ],
)
def test_how_long_to_wait_is_read_with_care(name: str, value: str, seconds: float | None) -> None:
    headers = HTTPMessage()
    headers[name] = value
    with pytest.raises(Broken) as caught:
        judge(Asked("https://hub/f", 0, 5, 5), 429, headers)
    assert caught.value.retry_after_seconds == seconds
