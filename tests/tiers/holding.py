"""A process that takes a hold or is a remover until its standard input ends: `holding.py take|remove KIND DIR ID`.

It prints `alone` when it has what it wants, or `refused`; and `ended` when it has given it back.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from cachemgr.aio.iopool import IoPool
from cachemgr.domain.errors import Held
from cachemgr.tiers.holds import FlockHolds
from cachemgr.tiers.holds_volume import FileHolds
from cachemgr.tiers.layout import Layout

SETTLE_SECONDS = 0.02


async def take(holds: FlockHolds | FileHolds, id: str) -> None:
    try:
        hold = await holds.take(id)
    except Held:
        print("refused", flush=True)
        return
    with hold:
        await until_told("alone")


async def remove(holds: FlockHolds | FileHolds, id: str) -> None:
    async with holds.exclusive(id) as alone:
        await until_told("alone" if alone else "refused")


async def until_told(word: str) -> None:
    print(word, flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def main(act: str, kind: str, root: str, id: str) -> None:
    layout, pool = Layout(Path(root)), IoPool(2, "holding")
    holds: FlockHolds | FileHolds
    holds = FlockHolds(layout, pool) if kind == "flock" else FileHolds(layout, pool, SETTLE_SECONDS)
    await (take if act == "take" else remove)(holds, id)
    if isinstance(holds, FileHolds):
        await holds.close()
    pool.close()
    print("ended", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
