"""Run as a program with a directory, rounds and a seed: a process always at work, killed again and again.

The work is what a busy worker does to a tier: store blobs, publish, widen, publish another revision, discard, reclaim.
It is killed at random instants; each time another process must find nothing half, and finish a round of the work.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sys
import time
from pathlib import Path

from cachemgr.tiers.directory import DirectoryTier
from tests.tiers.dying import FILES, NEXT, PART, Trouble, alone, discard_next, in_child, look_sound, opened, publish_one
from tests.tiers.making import COMMIT, OTHER, manifest, publish, store


async def work(tier: DirectoryTier) -> None:
    """One round: it ends with one of two revisions sealed."""
    await publish(tier, manifest(FILES, have=PART), FILES)
    await store(tier, *FILES.values())
    await publish_one(tier)
    await publish(tier, manifest(NEXT, OTHER), NEXT)
    await tier.pins.add(manifest(FILES).id)
    await discard_next(tier)
    await tier.pins.remove(manifest(FILES).id)


async def churn(root: Path) -> None:
    async with opened(root) as tier:
        for _ in itertools.count():
            await work(tier)


async def look(root: Path) -> None:
    async with opened(root) as tier:
        await look_sound(tier)
        await tier.sweep(alone)
        await look_sound(tier)
        await work(tier)
        assert await look_sound(tier) == {COMMIT}
        assert await tier.measure() == sum(map(len, FILES.values()))


def main(directory: str, rounds: str, seed: str) -> None:
    root, chance, calm = Path(directory) / "tier", random.Random(int(seed)), Trouble("none", -1)
    for number in range(int(rounds)):
        pid = os.fork()
        if pid == 0:
            asyncio.run(churn(root))
            os._exit(1)
        time.sleep(chance.uniform(0.02, 0.2))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert in_child(lambda: look(root), calm) == 0, f"in round {number}"
    print(rounds)


if __name__ == "__main__":
    main(*sys.argv[1:])
