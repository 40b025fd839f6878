"""What is mounted where: the kernel's own list, since asking the path itself can hang with the volume behind it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")

# File systems whose bytes lie on this host; what is not known counts as network, where we promise less.
_LOCAL = frozenset(
    {"bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "fuse.fuse-overlayfs", "jfs", "overlay", "ramfs"}
    | {"reiserfs", "rootfs", "squashfs", "tmpfs", "ubifs", "vfat", "xfs", "zfs"}
)
_ESCAPED = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system: where, of which kind, from what, and whether it takes writes."""

    point: Path
    kind: str
    source: str
    read_only: bool

    @property
    def local(self) -> bool:
        """True if its bytes lie on this host: locks end with their process, another host writes nothing here."""
        return self.kind in _LOCAL


def read_mounts(mountinfo: Path = MOUNTINFO) -> tuple[Mount, ...]:
    """All mounts of this process, in the order in which they were made; touches none of them. Raises OSError."""
    parsed = (_parse(line) for line in mountinfo.read_bytes().splitlines())
    return tuple(mount for mount in parsed if mount is not None)


def is_mount_point(path: Path, mounts: Iterable[Mount]) -> bool:
    """True if something is mounted exactly there; compares names and touches nothing."""
    wanted = Path(os.path.normpath(path))
    return any(mount.point == wanted for mount in mounts)


def mount_of(path: Path, mounts: Iterable[Mount]) -> Mount | None:
    """The mount that `path` lies on, whether it exists or not; the newest where one covers another.

    Follows symbolic links, so it may touch what it looks at: call it through a pool.
    """
    real = Path(os.path.realpath(path))
    holding = [mount for mount in mounts if real.is_relative_to(mount.point)]
    deepest = max((len(mount.point.parts) for mount in holding), default=0)
    return next((mount for mount in reversed(holding) if len(mount.point.parts) == deepest), None)


def _parse(line: bytes) -> Mount | None:
    # 36 35 98:0 /root /mnt rw,noatime shared:1 - ext4 /dev/sda1 rw,errors=continue
    before, dash, after = line.partition(b" - ")
    left, right = before.split(b" "), after.split(b" ")
    if not dash or len(left) < 6 or len(right) < 3:
        return None
    read_only = b"ro" in left[5].split(b",") or b"ro" in right[2].split(b",")
    return Mount(Path(_text(left[4])), _text(right[0]), _text(right[1]), read_only)


def _text(raw: bytes) -> str:
    return os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), raw))
