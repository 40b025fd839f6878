"""What checkpoints need of those who ask for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias


class Progress(Protocol):
    """Who is told how far it is; called from any thread."""

    def expect(self, total_bytes: int, files: int) -> None:
        """Say how much there is to move in all."""
        ...

    def moved(self, delta_bytes: int) -> None:
        """Count bytes that need not move (again); a negative number takes some back."""
        ...

    def file_done(self) -> None:
        """Count one file that is complete."""
        ...


Job: TypeAlias = Callable[[Progress], Awaitable[object]]
"""Work that reports its progress and returns its result, a dataclass."""


Count: TypeAlias = Callable[[int], None]
"""Told of every byte that really moves, from any thread; a negative number takes back what has to move again."""
