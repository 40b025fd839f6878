"""What a tier needs of the data plane: to read a file again and say what it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from cachemgr.domain.digest import Seen


class Hasher(Protocol):
    """Reads large files off the event loop."""

    async def digest(self, path: Path, *, size: int, git_sha1: bool, progress: Callable[[int], None]) -> Seen:
        """Read a file and say what it is; a failing read is OSError."""
        ...
