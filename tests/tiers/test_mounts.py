"""What is mounted where, read from the kernel's list."""

from __future__ import annotations

from pathlib import Path

import pytest

from cachemgr.tiers.mounts import Mount, is_mount_point, mount_of, read_mounts

TABLE = """\
22 1 0:21 / / rw,relatime - overlay overlay rw,lowerdir=/a
23 22 0:22 / /proc rw - proc proc rw
40 22 0:40 /vol /runpod-volume rw,relatime shared:7 master:1 - fuse.mfs mfs#10.0.0.1:9421 rw,user_id=0
41 22 8:1 / /mnt/with\\040blank\\134and rw - ext4 /dev/sda1 rw
42 22 8:2 / /mnt/read-only ro,relatime - xfs /dev/sdb1 rw
43 22 8:3 / /mnt/covered rw - ext4 /dev/sdc1 rw
44 22 0:44 / /mnt/covered rw - nfs4 server:/x ro,vers=4.2

not a mount line
"""


@pytest.fixture
def mounts(tmp_path: Path) -> tuple[Mount, ...]:
    file = tmp_path / "mountinfo"
    file.write_text(TABLE)
    return read_mounts(file)


def test_a_plain_directory_is_no_mount_point(mounts: tuple[Mount, ...]) -> None:
    assert is_mount_point(Path("/runpod-volume"), mounts)
    assert is_mount_point(Path("/runpod-volume/."), mounts)
    assert not is_mount_point(Path("/runpod-volume/huggingface-cache"), mounts)
    assert not is_mount_point(Path("/workspace"), mounts)


def test_names_are_unescaped(mounts: tuple[Mount, ...]) -> None:
    assert is_mount_point(Path("/mnt/with blank\\and"), mounts)


@pytest.mark.parametrize(
    ("path", "kind", "local", "read_only"),
    [
        ("/runpod-volume/huggingface-cache/hub", "fuse.mfs", False, False),
        ("/runpod-volume-2/x", "overlay", True, False),
        ("/does/not/exist", "overlay", True, False),
        ("/mnt/read-only/x", "xfs", True, True),
        ("/mnt/covered/x", "nfs4", False, True),
    ],
)
def test_a_path_lies_on_the_deepest_and_newest_mount(
    mounts: tuple[Mount, ...], path: str, kind: str, local: bool, read_only: bool
) -> None:
    mount = mount_of(Path(path), mounts)
    assert mount is not None
    assert (mount.kind, mount.local, mount.read_only) == (kind, local, read_only)


def test_a_link_lies_where_it_points(mounts: tuple[Mount, ...], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/runpod-volume/models")
    mount = mount_of(tmp_path / "link" / "x", mounts)
    assert mount is not None
    assert mount.kind == "fuse.mfs"


def test_the_real_list_is_read() -> None:
    # Not of "/": in a chroot that is no mount point.
    mount = mount_of(Path("/proc/self"), read_mounts())
    assert mount == Mount(Path("/proc"), "proc", "proc", mount.read_only if mount else False)
