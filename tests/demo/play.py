"""Playing the story: every step in its turn, the first one that goes wrong ends it, and a summary of all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests.demo.screen import Screen
from tests.demo.stage import Stage, Wrong
from tests.demo.story import Step

LOG_LINES, LOG_COLUMNS = 10, 400


@dataclass(frozen=True, slots=True)
class Played:
    """One step that went well: what it took."""

    title: str
    seconds: float
    moved_bytes: int
    ticks: int


def play(
    screen: Screen,
    setting: Callable[[Screen], AbstractContextManager[Stage]],
    prepare: Callable[[Stage], None],
    steps: Sequence[Step],
) -> int:
    """Play it and return the exit code: 0, or 1 after saying which step went wrong."""
    began = time.monotonic()
    screen.title("cachemgr: one worker does the whole job. Nothing leaves this machine.")
    where = "before the first step"
    try:
        with setting(screen) as stage:
            _introduce(stage)
            prepare(stage)
            stage.check(True, f"ready after {time.monotonic() - began:.1f} s")
            played: list[Played] = []
            for number, step in enumerate(steps, start=1):
                where = f"in step {number} ({step.title})"
                played.append(_step(stage, number, step))
            _sum_up(stage, played, time.monotonic() - began)
            _linger(stage)
    except Exception as error:  # noqa: BLE001 - whatever it is, the person must hear in which step
        screen.line()
        told = str(error) if isinstance(error, Wrong) else f"{type(error).__name__}: {error}"
        screen.fault(f"{where}: {told}")
        return 1
    return 0


def _introduce(stage: Stage) -> None:
    screen, worker = stage.screen, stage.worker
    screen.line()
    screen.line(f"  a hub      {stage.hub.url}")
    screen.line(f"  an S3      {stage.s3.endpoint_url}")
    screen.line(f"  a worker   {worker.root}: volume/ and disk/, which fits two of the models")
    screen.command("cachemgr serve &")


def _step(stage: Stage, number: int, step: Step) -> Played:
    stage.screen.heading(number, step.title)
    began, moved, ticks = time.monotonic(), stage.moved_bytes(), stage.ticks
    try:
        step.play(stage)
    except Exception:
        _tell_log(stage)
        raise
    return Played(step.title, time.monotonic() - began, stage.moved_bytes() - moved, stage.ticks - ticks)


def _tell_log(stage: Stage) -> None:
    lines = (stage.worker.root / "log.txt").read_text(errors="replace").splitlines()
    stage.screen.line()
    stage.screen.say("The daemon's last lines:")
    for line in lines[-LOG_LINES:]:
        stage.screen.line(line[:LOG_COLUMNS])


def _sum_up(stage: Stage, played: Sequence[Played], seconds: float) -> None:
    screen = stage.screen
    screen.line()
    screen.title("What happened")
    screen.line()
    for number, one in enumerate(played, start=1):
        screen.line(_row(f"{number}  {one.title}", one.seconds, one.moved_bytes, one.ticks))
    total = sum(one.moved_bytes for one in played)
    screen.line(_row("   In all, with setting the stage", seconds, total, stage.ticks))
    screen.line()
    screen.tick(f"{stage.ticks} checks, and all of them held")


def _row(title: str, seconds: float, moved_bytes: int, ticks: int) -> str:
    moved = f"{moved_bytes / 1e6:.0f} MB" if moved_bytes else "-"
    return f"  {title:<51}{seconds:5.1f} s {moved:>8} {ticks:3} check{'' if ticks == 1 else 's'}"


def _linger(stage: Stage) -> None:
    screen = stage.screen
    screen.line(f"  The status page: {stage.status_page}")
    if not screen.interactive:
        return
    screen.line(f"  Commands of your own, in another terminal: . {stage.worker.root}/env.sh")
    screen.line()
    try:
        input("The daemon runs on until you press Enter. ")
    except EOFError:
        screen.line()
