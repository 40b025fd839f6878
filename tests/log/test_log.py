"""One event a line, bounded, in the form that its reader takes."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from datetime import UTC, datetime

import pytest

from cachemgr import log as structured
from tests.log.conftest import is_ours

log = logging.getLogger("cachemgr.tests")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def stream() -> io.StringIO:
    out = io.StringIO()
    structured.configure("debug", "auto", stream=out)
    return out


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def handle(event: str, extra: dict[str, object], *args: object) -> None:
    # Straight to our handler: pytest's own would keep what its workers cannot pass on, or raise.
    record = log.makeRecord(log.name, logging.INFO, __file__, 1, event, args, None, extra=extra)
    [ours] = [handler for handler in logging.getLogger().handlers if is_ours(handler)]
    ours.handle(record)


def test_a_line_is_an_event_and_its_fields(stream: io.StringIO) -> None:
    log.info("blob fetched", extra={"digest": "sha256:ab", "bytes": 7, "seconds": 0.5})
    [line] = lines(stream)
    at = line.pop("timestamp")
    assert line == {
        "event": "blob fetched",
        "level": "info",
        "logger": "cachemgr.tests",
        "digest": "sha256:ab",
        "bytes": 7,
        "seconds": 0.5,
    }
    assert isinstance(at, str)
    assert abs((datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds()) < 60
    assert at.endswith("Z")


def test_configuring_again_moves_the_log_and_keeps_other_handlers(stream: io.StringIO) -> None:
    other = logging.NullHandler()
    logging.getLogger().addHandler(other)
    second = io.StringIO()
    structured.configure("info", "json", stream=second)
    log.info("once")
    assert stream.getvalue() == ""
    assert len(lines(second)) == 1
    assert other in logging.getLogger().handlers


def test_a_terminal_gets_text_and_everything_else_json() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    structured.configure("info", "auto", stream=terminal)
    log.info("hello", extra={"n": 1})
    assert "hello" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    structured.configure("info", "text", stream=pipe)
    log.info("hello", extra={"n": 1})
    assert "n=1" in pipe.getvalue()
    assert "\x1b" not in pipe.getvalue(), "no colors where nobody sees them"


def test_a_name_from_outside_cannot_write_a_line_or_colors_into_a_terminal() -> None:
    out = io.StringIO()
    structured.configure("info", "text", stream=out)
    log.info("bad\nname \x1b[31m", extra={"file": "x\r\n2026-01-01 [critical] forged"})
    assert len(out.getvalue().splitlines()) == 1
    assert "\x1b" not in out.getvalue()


async def test_tasks_carry_the_fields_of_where_they_began(stream: io.StringIO) -> None:
    async def work(number: int) -> None:
        with structured.bound(artifact=number):
            await asyncio.sleep(0)
            log.info("done")

    with structured.bound(request="r1"):
        await asyncio.gather(work(1), work(2))
    log.info("outside")
    fields = [(line.get("request"), line.get("artifact")) for line in lines(stream)]
    assert fields == [("r1", 1), ("r1", 2), (None, None)]


@pytest.mark.parametrize("char", ["x", "\n", '"', "ä", "\U0001f600", "\udcff"], ids=ascii)
def test_a_line_is_json_within_4096_characters_whatever_it_holds(stream: io.StringIO, char: str) -> None:
    extra = {"path": char * 9000, "items": [char * 100] * 100, "bytes": 7}
    handle("event " + char * 5000, extra)
    assert len(stream.getvalue()) <= structured.LONGEST_LINE
    [line] = lines(stream)
    assert line["bytes"] == 7
    assert str(line["event"]).startswith("event ")


def test_a_line_with_too_many_fields_keeps_what_it_is_about(stream: io.StringIO) -> None:
    log.info("event", extra={f"field{n}": n for n in range(2000)})
    [line] = lines(stream)
    assert (line["event"], line["cut"]) == ("event", True)


def test_a_long_stack_keeps_its_end(stream: io.StringIO) -> None:
    try:
        raise ValueError("x" * 9000 + " the end")
    except ValueError:
        log.exception("failed", extra={"file": "a"})
    [line] = lines(stream)
    assert str(line["exception"]).endswith("the end")
    assert line["file"] == "a"


def test_what_is_no_json_becomes_text(stream: io.StringIO) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no")

    log.info("odd", extra={"error": ValueError("v"), "broken": Broken(), "nan": float("nan"), "set": {1}, "raw": b"x"})
    [line] = lines(stream)
    assert (line["error"], line["nan"], line["set"], line["raw"]) == ("v", "nan", [1], "b'x'")
    assert line["broken"] == "<Broken: RuntimeError>"


def test_a_line_that_cannot_be_rendered_is_named_without_its_arguments(stream: io.StringIO) -> None:
    handle("%d", {}, "geheim")
    assert "geheim" not in stream.getvalue()
    assert "cachemgr.tests: a log line at" in stream.getvalue()


def test_a_reader_who_went_away_is_no_failure() -> None:
    class Gone(io.StringIO):
        def write(self, text: str, /) -> int:
            raise BrokenPipeError

    structured.configure("info", "json", stream=Gone())
    log.info("hello")


def test_libraries_that_log_credentials_stay_quiet_even_at_debug(stream: io.StringIO) -> None:
    for name in ("botocore.auth", "aiohttp.client", "urllib3.connectionpool", "huggingface_hub", "asyncio"):
        logging.getLogger(name).debug("Authorization: x")
        logging.getLogger(name).info("Authorization: x")
    log.debug("ours")
    assert [line["event"] for line in lines(stream)] == ["ours"]


def test_the_log_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    structured.configure("info", "json")
    log.info("hello")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "hello"
    assert sys.stderr is not None


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_failing_loop_says_the_first_then_one_in_thirty_seconds_then_its_recovery(stream: io.StringIO) -> None:
    clock = Clock()
    repeats = structured.Repeats(log, clock)
    repeats.succeeded("sync works again")
    for second in range(65):
        clock.now = float(second)
        repeats.failed("sync failed", OSError("no"), bucket="b")
    clock.now = 70.0
    repeats.succeeded("sync works again", bucket="b")
    repeats.succeeded("sync works again")
    repeats.failed("sync failed", TimeoutError())
    said = [(line["event"], line["level"], line.get("failures"), line.get("error")) for line in lines(stream)]
    assert said == [
        ("sync failed", "warning", 1, "no"),
        ("sync failed", "warning", 31, "no"),
        ("sync failed", "warning", 61, "no"),
        ("sync works again", "info", 65, None),
        ("sync failed", "warning", 1, "TimeoutError"),
    ]
    assert lines(stream)[3]["seconds"] == 70.0
