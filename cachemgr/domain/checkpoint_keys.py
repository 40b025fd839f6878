"""Where a training run's checkpoints lie in a bucket: names, sequence numbers and keys."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from cachemgr.domain.errors import Usage
from cachemgr.domain.names import check_relative

KEY_BYTES = 1024

PUBLISHED = ".cachemgr/checkpoints/"
REMOVED = ".cachemgr/removed/"
WRITING = ".cachemgr/writing/"
LATEST = ".cachemgr/latest.json"

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]", re.ASCII)
_RECORD = re.compile(r"([1-9][0-9]{0,17})-(.+)\.json", re.ASCII | re.DOTALL)
_ANNOUNCEMENT = re.compile(
    r"([1-9][0-9]{0,17})-([0-9a-f]{32}-[0-9]{1,20}-[0-9]{1,10}-[0-9]{1,20}-[0-9a-f]{16})-(.+)\.json",
    re.ASCII | re.DOTALL,
)
_NUMBERED = re.compile(r".*~[0-9]+", re.DOTALL)
_STEPS = (
    re.compile(r"step[=_-]?([0-9]{1,18})(?![0-9])", re.IGNORECASE),
    re.compile(r"(?:checkpoint|ckpt|iter(?:ation)?)[=_-]([0-9]{1,18})(?![0-9])", re.IGNORECASE),
)


@dataclass(frozen=True, slots=True)
class BucketPath:
    """A training run's place: `s3://bucket/prefix`, the prefix without slashes at its ends, possibly empty."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, text: str) -> BucketPath:
        """Read what a caller typed; raises Usage."""
        hint = "write s3://bucket/run"
        if not text.startswith("s3://"):
            raise Usage(f"{text[:120]!r} is not a place in a bucket", hint=hint)
        bucket, _, prefix = text.removeprefix("s3://").partition("/")
        if not _BUCKET.fullmatch(bucket) or ".." in bucket:
            raise Usage(f"{text[:120]!r} names no bucket", hint=hint)
        prefix = prefix.removesuffix("/")
        if prefix and ".cachemgr" in check_relative(prefix).split("/"):
            raise Usage(f"{text[:120]!r} lies among cachemgr's own keys", hint=hint)
        return cls(bucket, prefix)

    def key(self, relative: str) -> str:
        """The full key of something in this run; raises Usage where no store would take one so long."""
        key = f"{self.prefix}/{relative}" if self.prefix else relative
        if len(key.encode()) > KEY_BYTES:
            raise Usage(f"the key {key[:80]!r}... is longer than {KEY_BYTES} bytes", hint="use shorter names")
        return key

    def relative(self, key: str) -> str:
        """What `key` was made from."""
        return key[len(self.prefix) + 1 :] if self.prefix else key

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"


@dataclass(frozen=True, slots=True)
class Record:
    """One published checkpoint as its manifest's key names it."""

    seq: int
    name: str

    @property
    def key(self) -> str:
        """The manifest's key in the run."""
        return f"{PUBLISHED}{self.seq}-{self.name}.json"

    @classmethod
    def parse(cls, key: str, below: str = PUBLISHED) -> Record | None:
        """Read a key in the run; None if it is not one of ours."""
        found = _RECORD.fullmatch(key.removeprefix(below)) if key.startswith(below) else None
        return cls(int(found[1]), found[2]) if found and is_name(found[2]) else None


@dataclass(frozen=True, slots=True)
class Announcement:
    """A push that says what it is going to write before its first byte: its number, its writer, its name.

    One that is never withdrawn says what an unfinished push left behind.
    """

    seq: int
    writer: str
    name: str

    @property
    def key(self) -> str:
        """The announcement's key in the run."""
        return f"{WRITING}{self.seq}-{self.writer}-{self.name}.json"

    @classmethod
    def parse(cls, key: str) -> Announcement | None:
        """Read a key in the run; None if it is not one of ours."""
        found = _ANNOUNCEMENT.fullmatch(key.removeprefix(WRITING)) if key.startswith(WRITING) else None
        return cls(int(found[1]), found[2], found[3]) if found and is_name(found[3]) else None


@dataclass(frozen=True, slots=True)
class Books:
    """What a run's own keys say, read in this order: who is writing, what is published, what was removed.

    In that order nobody slips through: a push publishes before it withdraws, a removal is noted before it is done.
    """

    writing: tuple[Announcement, ...]
    published: tuple[Record, ...]
    removed: tuple[Record, ...]

    @classmethod
    def read(cls, writing: Iterable[str], published: Iterable[str], removed: Iterable[str]) -> Books:
        """Take what is ours from lists of keys in the run; anything else there is somebody else's business."""
        records = (record for key in published if (record := Record.parse(key)))
        return cls(
            tuple(one for key in writing if (one := Announcement.parse(key))),
            tuple(sorted(records, key=lambda record: record.seq)),
            tuple(record for key in removed if (record := Record.parse(key, REMOVED))),
        )

    @property
    def settled(self) -> int:
        """The highest number that was ever published, 0 if none was."""
        return max((record.seq for record in (*self.published, *self.removed)), default=0)

    @property
    def highest(self) -> int:
        """The highest number seen anywhere, 0 if there is none."""
        return max((self.settled, *(one.seq for one in self.writing)))

    def newest(self, name: str | None = None) -> Record | None:
        """The published checkpoint with the highest number: of all, or of this name."""
        return next((one for one in reversed(self.published) if name in (None, one.name)), None)

    def grants(self, mine: Announcement) -> bool:
        """True if this number is mine alone. Of two who announced the same one, at least the later one sees both."""
        taken = any(one.seq == mine.seq and one != mine for one in self.writing)
        return not taken and mine.seq > self.settled

    def data_of(self, mine: Announcement, *, plain: bool) -> str:
        """Where in the run this push may write: `<name>` if that is free, else `<name>~<seq>`, which always is.

        `plain`: nothing that somebody may need lies under `<name>`.
        """
        names = {record.name for record in (*self.published, *self.removed)}
        names.update(one.name for one in self.writing if one != mine)
        return mine.name if plain and mine.name not in names else f"{mine.name}~{mine.seq}"


def is_name(name: str) -> bool:
    """True if a checkpoint may be called this."""
    try:
        check_name(name)
    except Usage:
        return False
    return True


def check_name(name: str) -> str:
    """Return `name` if a checkpoint may be called this: one plain file name that hides nothing and cannot be mistaken
    for another checkpoint's second edition (`name~2`). Raises Usage.
    """
    hint = "give another one with --name"
    if "/" in name or name.startswith(".") or _NUMBERED.fullmatch(name):
        raise Usage(f"a checkpoint cannot be called {name[:80]!r}", hint=hint)
    try:
        return check_relative(name)
    except Usage as error:
        raise Usage(f"a checkpoint cannot be called {name[:80]!r}: {error.detail}", hint=hint) from None


def step_of(name: str) -> int | None:
    """The training step that a name tells: `checkpoint-500`, `global_step500`, `epoch=1-step=500.ckpt`; else None."""
    found = next((match for pattern in _STEPS if (match := pattern.search(name))), None)
    return int(found[1]) if found else None
