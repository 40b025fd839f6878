"""Run as a program: a scenario meets trouble at one call to the operating system after the other.

Arguments: a directory, the scenario's name, the trouble (`death`, or the name of an errno), and how many calls to go
on each time. A child process prepares a tier, does the work and dies by SIGKILL at exactly that call, or gets the error
from it; another one looks at what is left: nothing half may be visible, and after a sweep the same work must succeed.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cachemgr.aio.iopool import IoPool
from cachemgr.domain.errors import CachemgrError
from cachemgr.domain.manifest import Entry
from cachemgr.moving.plane import DataPlane
from cachemgr.tiers.directory import DirectoryTier
from cachemgr.tiers.trash import SPARE
from tests.tiers.making import COMMIT, MAIN, OTHER, contents, filled, git_sha1, manifest, publish, seen, sha256, store

CHANGES = ("chmod", "fchmod", "fsync", "ftruncate", "link", "mkdir", "rename", "replace", "rmdir", "truncate", "unlink")
CALLS = (*CHANGES, "listdir", "lstat", "open", "scandir", "stat", "utime", "write")
REACHED = 3  # exit status of a child that met its trouble and went on
FILES = {"config.json": b"{}", "sub/model.safetensors": b"weights"}
NEXT = {**FILES, "config.json": b'{"next": 1}'}
PART = frozenset({"config.json"})

Act = Callable[[DirectoryTier], Awaitable[object]]


async def nothing(tier: DirectoryTier) -> None:
    """Prepare nothing."""


async def stored(tier: DirectoryTier) -> None:
    await store(tier, *FILES.values())


async def begun_by_another(tier: DirectoryTier) -> None:
    await stored(tier)
    there = tier.snapshots.directory(manifest(FILES))
    (there / "sub").mkdir(parents=True)
    (there / "config.json").symlink_to("elsewhere")
    (there / "sub/model.safetensors").write_bytes(b"WEIGHTS")
    refs = there.parent.parent / "refs"
    refs.mkdir()
    (refs / "main").write_text(OTHER)


async def partly(tier: DirectoryTier) -> None:
    await publish(tier, manifest(FILES, have=PART), FILES)
    await stored(tier)


async def both(tier: DirectoryTier) -> None:
    await publish(tier, manifest(FILES), FILES)
    await publish(tier, manifest(NEXT, OTHER), NEXT)


async def store_one(tier: DirectoryTier) -> None:
    """A small file, whose origin knows no sha256 of it."""
    data = FILES["config.json"]
    async with filled(tier, data, "key") as part:
        await part.publish(Entry("config.json", len(data), sha256(data), git_sha1(data)), seen(data))
    assert await tier.blobs.contains(sha256(data)) == len(data)


async def publish_one(tier: DirectoryTier) -> None:
    await tier.snapshots.publish(manifest(FILES), MAIN)


async def discard_next(tier: DirectoryTier) -> None:
    await tier.snapshots.discard(manifest(NEXT, OTHER).id)
    for digest, _ in await tier.blobs.reclaimable():
        await tier.blobs.reclaim(digest)


async def condemn_one(tier: DirectoryTier) -> None:
    await tier.snapshots.unseal(manifest(FILES).id)
    await tier.blobs.condemn(sha256(FILES["config.json"]), "flipped")


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is there before, what dies, and which commits are sealed once it was done to its end."""

    prepare: Act
    act: Act
    sealed: frozenset[str]


SCENARIOS = {
    "store": Scenario(nothing, store_one, frozenset()),
    "publish": Scenario(stored, publish_one, frozenset({COMMIT})),
    "fill": Scenario(begun_by_another, publish_one, frozenset({COMMIT})),
    "widen": Scenario(partly, publish_one, frozenset({COMMIT})),
    "discard": Scenario(both, discard_next, frozenset({COMMIT})),
    "condemn": Scenario(both, condemn_one, frozenset({OTHER})),
}


class Trouble:
    """Counts the tier's calls to the operating system and lets one of them go wrong."""

    def __init__(self, kind: str, at: int) -> None:
        self._kind = kind
        self._at = at
        self._seen = itertools.count()
        self.armed = False
        self.reached = False

    def patch(self) -> None:
        """Put it in the way of every call."""
        for name in CALLS:
            setattr(os, name, self._troubled(getattr(os, name), name))

    def _troubled(self, call: Callable[..., object], name: str) -> Callable[..., object]:
        def instead(*args: object, **kwargs: object) -> object:
            counted = self.armed and threading.current_thread().name.startswith("tier")
            if counted and next(self._seen) == self._at:
                self._strike()
            # What a dead process has handed to the kernel stays: syncing would only take time here.
            return None if name == "fsync" else call(*args, **kwargs)

        return instead

    def _strike(self) -> None:
        self.reached = True
        if self._kind == "death":
            os.kill(os.getpid(), signal.SIGKILL)
        code = getattr(errno, self._kind)
        raise OSError(code, os.strerror(code))


@asynccontextmanager
async def opened(root: Path) -> AsyncIterator[DirectoryTier]:
    pool, plane = IoPool(2, "tier"), DataPlane(1)
    try:
        yield await DirectoryTier.open("disk", root, pool, plane, local=True)
    finally:
        plane.close()
        pool.close()


@asynccontextmanager
async def alone(id: str) -> AsyncIterator[bool]:
    yield True


async def look_sound(tier: DirectoryTier) -> set[str]:
    """Whatever is visible is whole; returns the sealed commits."""
    sealed = await tier.snapshots.scan()
    files = {COMMIT: FILES, OTHER: NEXT}
    for each in sealed:
        there = contents(each.path)
        for entry in each.manifest.entries:
            assert there[entry.path] == files[each.manifest.revision][entry.path], f"{entry.path} is wrong"
            assert not (each.path / entry.path).is_symlink()
    for blob in tier.layout.blobs.iterdir():
        assert blob.name == f"sha256-{sha256(blob.read_bytes()).value}", "a blob is not what it is called"
    return {each.manifest.revision for each in sealed}


def hub_ref(tier: DirectoryTier) -> str | None:
    path = tier.layout.repo("hf", "acme/small") / "refs/main"
    return path.read_text() if path.exists() else None


async def survive(tier: DirectoryTier, scenario: Scenario) -> None:
    """What the next start of the daemon does."""
    sealed = await look_sound(tier)
    if scenario.act is not condemn_one:
        assert {note.revision for note in await tier.refs.all()} <= sealed, "a ref leads nowhere"
    if scenario.prepare is not begun_by_another:
        assert hub_ref(tier) in {None, *sealed}, "the hub's ref leads nowhere"
    await tier.sweep(alone)
    await look_sound(tier)
    if scenario.act is condemn_one:
        await tier.snapshots.unseal(manifest(FILES).id)
    await scenario.act(tier)
    assert await look_sound(tier) == scenario.sealed
    for place in (tier.layout.staging, tier.layout.trash):
        left = [path.name for path in place.iterdir() if path.name != SPARE]
        assert left == [], f"{left} left in {place.name}"
    assert sum(path.stat().st_size for path in tier.layout.parts.iterdir()) < 500, "no more than a few small notes"
    wanted = {sha256(data) for data in FILES.values()} if scenario.act is not condemn_one else set()
    assert not wanted & {d for d, _ in await tier.blobs.reclaimable()} or scenario.act is store_one


def in_child(work: Callable[[], Awaitable[None]], trouble: Trouble) -> int:
    """Run it in a forked process of its own: its exit status, negative for a signal."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 1
    try:
        trouble.patch()
        asyncio.run(work())  # type: ignore[arg-type]  # every Awaitable here is a coroutine
        status = REACHED if trouble.reached else 0
    except BaseException:  # noqa: BLE001 - a forked child must never return into its parent's code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def main(directory: str, name: str, kind: str, stride: str) -> None:
    scenario, root = SCENARIOS[name], Path(directory) / "tier"

    async def act(trouble: Trouble) -> None:
        async with opened(root) as tier:
            await scenario.prepare(tier)
            trouble.armed = True
            try:
                await scenario.act(tier)
            except (OSError, CachemgrError):
                # The same process goes on: what it holds in memory must still be true.
                await look_sound(tier)
                await scenario.act(tier)

    async def after() -> None:
        async with opened(root) as tier:
            await survive(tier, scenario)

    for step in itertools.count(0, int(stride)):
        shutil.rmtree(root, ignore_errors=True)
        trouble = Trouble(kind, step)
        status = in_child(partial(act, trouble), trouble)
        assert status in (0, REACHED, -signal.SIGKILL), f"step {step} ended with {status}"
        assert in_child(after, Trouble("none", -1)) == 0, f"after {kind} at step {step}"
        if status == 0:
            break
    print(step)


if __name__ == "__main__":
    main(*sys.argv[1:])
