"""How a command ends: which exit code an error has, and how it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cachemgr.cli.text import folded, size
from cachemgr.client import CacheError
from cachemgr.domain.errors import CachemgrError

EXIT_CODES: Mapping[str, int] = {
    "usage": 2,
    "not_found": 3,
    "verification_failed": 4,
    "no_space": 5,
    "timeout": 6,
    "unauthorized": 7,
    "interrupted": 130,
}

_MEANS = {
    "unauthorized": "It exists perhaps, but not for this token; nothing was fetched.",
    "timeout": "It may still arrive: what is under way goes on for whoever asks next.",
    "verification_failed": "The bytes are not what they should be: they are never handed out as a model.",
    "origin_unavailable": "Nothing new can be fetched; what is here already stays usable.",
    "held": "Somebody reads or protects it; nothing was changed.",
    "daemon_away": "No answer came, so what it did last is not known.",
    "tier_unavailable": "Other tiers are not affected.",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as a command tells it, wherever it came from."""

    code: str
    detail: str
    hint: str
    fields: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """What an error of the client, of the domain or of nobody says; of the last kind no word is repeated."""
        if isinstance(error, CacheError | CachemgrError):
            return cls(error.code, error.detail, error.hint, error.fields)
        hint = "this is a fault of cachemgr: please report it, with what `CACHEMGR_LOG__LEVEL=debug` shows"
        return cls("internal", f"an internal error ({type(error).__name__})", hint)

    @classmethod
    def told(cls, problem: Mapping[str, object]) -> Failure:
        """A problem document that came with a transfer."""
        known = {"type", "title", "status", "code", "detail", "hint"}
        fields = {name: value for name, value in problem.items() if name not in known}
        return cls(str(problem.get("code", "internal")), str(problem.get("detail")), str(problem.get("hint")), fields)

    @property
    def exit_code(self) -> int:
        """What the process exits with."""
        return EXIT_CODES.get(self.code, 1)

    def document(self) -> dict[str, object]:
        """The same as one JSON value."""
        return {**self.fields, "code": self.code, "detail": self.detail, "hint": self.hint}

    def text(self, width: int | None) -> str:
        """What happened, what it means, and what to do next; wrapped for a terminal of this width."""
        said = [("error: ", self.detail), ("       ", self._meaning()), ("hint:  ", self.hint)]
        return "\n".join(folded(head, line, width) for head, line in said if line)

    def _meaning(self) -> str:
        if self.code != "no_space":
            return _MEANS.get(self.code, "")
        needed, free, evictable = (
            _number(self.fields.get(f"{name}_bytes")) for name in ("needed", "free", "evictable")
        )
        return f"Needed {size(needed)}, free {size(free)}, could be evicted {size(evictable)}."


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
