"""Where bytes go: files that their tier created, and older partial files to go on from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Target:
    """An existing file of the caller's own that will hold exactly the bytes moved.

    `local` says that it lies on a local file system: it is then allocated first and written past the page cache where
    possible. Elsewhere allocation would write zeros over the network, so writes go through the page cache in small
    slices, and the cache is dropped after the fsync: whoever reads the file again reads what the store really has.
    """

    path: Path
    local: bool


@dataclass(frozen=True, slots=True)
class Resume:
    """An older partial file whose first `size` bytes were hashed and fsynced: they are copied and hashed again.

    It is only read, never renamed or written: another writer may still have it open.
    """

    path: Path
    size: int
