"""A reader that takes holds, or a remover that evicts under it, as a process: `hold_race.py read|remove KIND DIR N`.

The reader prints how many rounds it made, how many holds it had on a sealed snapshot and how many of those lost it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

from cachemgr.aio.iopool import IoPool
from cachemgr.tiers.holds import FlockHolds, Hold
from cachemgr.tiers.holds_volume import FileHolds
from cachemgr.tiers.layout import Layout

IDS = ("hf--acme--a--1", "hf--acme--b--2")


class Holds(Protocol):
    async def take(self, id: str) -> Hold: ...

    def exclusive(self, id: str) -> AbstractAsyncContextManager[bool]: ...


class Heedless:
    """Holds that protect from nothing: shows that the race would find a loss."""

    async def take(self, id: str) -> Hold:
        return Hold(id, lambda: None)

    @asynccontextmanager
    async def exclusive(self, id: str) -> AsyncIterator[bool]:
        yield True


def snapshot(layout: Layout, id: str) -> Path:
    return layout.root / "snapshots" / id


def seal(layout: Layout, id: str) -> None:
    """Publish without a look at any hold, as a pull does."""
    snapshot(layout, id).mkdir(parents=True, exist_ok=True)
    layout.seal(id).touch()


def discard(layout: Layout, id: str, turn: int) -> None:
    layout.seal(id).unlink()
    trash = layout.trash / f"{id}.{turn}"
    os.rename(snapshot(layout, id), trash)
    trash.rmdir()


async def read(holds: Holds, layout: Layout, rounds: int) -> dict[str, int]:
    held = lost = 0
    for _ in range(rounds):
        id = random.choice(IDS)
        with await holds.take(id):
            if not layout.seal(id).exists():
                continue
            held += 1
            looks = range(random.randrange(1, 40))
            lost += not all(snapshot(layout, id).exists() and layout.seal(id).exists() for _ in looks)
        if isinstance(holds, FileHolds):
            await asyncio.sleep(random.random() * 0.02)  # else a remover that waits never finds a gap
    return {"rounds": rounds, "held": held, "lost": lost}


async def remove(holds: Holds, layout: Layout) -> dict[str, int]:
    evictions = refusals = 0
    while not (layout.root / "stop").exists():
        id = IDS[(evictions + refusals) % len(IDS)]
        async with holds.exclusive(id) as alone:
            if alone:
                discard(layout, id, evictions)
        evictions, refusals = evictions + alone, refusals + (not alone)
        if alone:
            seal(layout, id)
            await asyncio.sleep(random.random() * 0.002)
    return {"evictions": evictions, "refusals": refusals}


async def main(role: str, kind: str, root: str, rounds: str) -> None:
    layout, pool = Layout(Path(root)), IoPool(2, "race")
    holds: Holds
    if kind == "flock":
        holds = FlockHolds(layout, pool)
    elif kind == "files":
        holds = FileHolds(layout, pool, settle_seconds=0.02)
    else:
        holds = Heedless()
    told = await read(holds, layout, int(rounds)) if role == "read" else await remove(holds, layout)
    if isinstance(holds, FileHolds):
        await holds.close()
    pool.close()
    with suppress(BrokenPipeError):
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
