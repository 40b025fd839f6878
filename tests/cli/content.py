"""Values that several tests of the command line show."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from cachemgr.domain.errors import CachemgrError
from cachemgr.library.answers import Answer, Listed, Pulled, TierUse, timestamp
from cachemgr.library.transfers import Transfer
from tests.client.stand_in import World, eventually

COMMIT = "89e7789fb2c320e436dcbb90b89f5a9a8d298ce0"
REF = "hf://acme/m20@main"
LONG = "hf://organisation-with-a-long-name/a-model-with-a-rather-long-name-Instruct-v0.3@main"
PATH = "/runpod-volume/huggingface-cache/hub/models--acme--m20/snapshots/" + COMMIT
TOTAL = 1_300_000_000


def listed(ref: str = REF, tier: str = "volume", days: float | None = 0.5, **changes: object) -> Listed:
    used = None if days is None else timestamp(time.time() - days * 86_400)
    name = ref.partition("://")[2].partition("@")[0].replace("/", "--")
    values: dict[str, object] = {"held": False, "pinned": False, "adopted": False, "bytes": TOTAL, **changes}
    return Listed(
        id=f"hf--{name}--{COMMIT}",
        ref=ref,
        revision=COMMIT,
        tier=tier,
        path=PATH,
        files=20,
        last_used=used,
        **values,  # type: ignore[arg-type]  # the members that a test may change
    )


def answer(ref: str = REF, tier: str = "volume") -> Answer:
    return Answer(ref, listed(ref).id, COMMIT, PATH, tier, None, None, "2026-11-24T13:00:00.000Z", False)


def pulled(ref: str = REF, tier: str = "volume", fetched: int = TOTAL) -> Pulled:
    row = listed(ref)
    return Pulled(ref, row.id, COMMIT, PATH, tier, TOTAL, 20, fetched, TOTAL - fetched, 12.0, None, False)


TIERS = [
    TierUse(
        "disk",
        "/var/cache/cachemgr",
        "ext4",
        12_400_000_000,
        1_300_000_000,
        80_100_000_000,
        10**11,
        2 * 10**11,
        3 * 10**11,
    ),
    TierUse("volume", "/runpod-volume", "fuse.mfs", 3_210_000_000_000, 0, 10**15, None, None, None),
]

Job = Callable[[Transfer], Awaitable[Pulled]]


def arrives(ref: str = REF, fetched: int = TOTAL) -> Job:
    """A pull that goes well, at once."""

    async def job(transfer: Transfer) -> Pulled:
        transfer.expect(TOTAL, 20)
        transfer.moved(fetched)
        for _ in range(20):
            transfer.file_done()
        return pulled(ref, fetched=fetched)

    return job


def halfway(world: World, ref: str = REF) -> Job:
    """A pull that stands still in the middle until the world's gate is open."""

    async def job(transfer: Transfer) -> Pulled:
        transfer.expect(TOTAL, 20)
        transfer.moved(TOTAL // 2)
        transfer.file_done()
        world.asked.append(("halfway", ref))
        try:
            await eventually(world.open.is_set)
        except asyncio.CancelledError:
            world.asked.append(("cancelled", ref))
            raise
        transfer.verifying()
        return pulled(ref)

    return job


def fails(error: CachemgrError) -> Job:
    """A pull that goes wrong after a while."""

    async def job(transfer: Transfer) -> Pulled:
        transfer.expect(TOTAL, 20)
        raise error

    return job
