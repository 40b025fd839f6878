"""A process that pushes or pulls, for tests that kill it: `ACTION PATH PLACE ENDPOINT KEY SECRET REGION`."""

from __future__ import annotations

import asyncio
import sys

from prometheus_client import CollectorRegistry

from cachemgr.aio.iopool import IoPool
from cachemgr.bucket.access import Access
from cachemgr.bucket.buckets import Buckets
from cachemgr.checkpoints.service import Checkpoints
from cachemgr.metrics import Metrics
from cachemgr.moving.plane import DataPlane
from tests.services.stores import Told


async def main() -> None:
    action, path, place, endpoint, key, secret, region = sys.argv[1:]
    access = Access(endpoint, region, None, key, secret)
    pool, plane = IoPool(4, "child"), DataPlane()
    buckets = Buckets(lambda _: access, plane, pool)
    checkpoints = Checkpoints(buckets, plane, pool, Metrics(CollectorRegistry()), 4)
    job = checkpoints.push(path, place, None) if action == "push" else checkpoints.pull(place, path, None)
    print("begun", flush=True)
    await job(Told())
    print("done", flush=True)
    await buckets.close()
    plane.close()
    pool.close()


if __name__ == "__main__":
    asyncio.run(main())
