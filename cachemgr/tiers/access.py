"""Whether a tier may be written, and if not, why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cachemgr.domain.errors import TierUnavailable


@dataclass(frozen=True, slots=True)
class Access:
    """What was found when the tier was opened; `refusal` is one sentence, or None if we may write."""

    name: str
    root: Path
    local: bool
    refusal: str | None = None

    @property
    def writable(self) -> bool:
        return self.refusal is None

    def check(self) -> None:
        """Raise TierUnavailable unless we may write."""
        if self.refusal is not None:
            raise TierUnavailable(
                f"the {self.name} tier at {self.root} is read-only: {self.refusal}", hint=None, tier=self.name
            )
