"""A container disk with a hard size: ext4 in a file, loop-mounted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services.lifeline import served

SCRIPT = Path(__file__).with_name("disk.sh")


@contextmanager
def sized_disk(size_bytes: int) -> Iterator[Path]:
    """The mount point of an empty file system of this size (a little less is usable), for as long as the block runs.

    The test is left out, or fails, where loop mounts are not allowed: see `tests.services.parts`.
    """
    with served("disk of a fixed size", SCRIPT, [str(size_bytes)], {}) as printed:
        yield Path(printed["DISK"])
