"""What is on its way out: renamed to a directory of this process first, so that one wins, then deleted there."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cachemgr.tiers import walk
from cachemgr.tiers.durable import FULL, NO_LINKS, names, sync_directory
from cachemgr.tiers.layout import Layout
from cachemgr.tiers.owner import Owner

SEAL = "seal.json"
SNAPSHOT = "snapshot"
SPARE = "spare"
BLOB = "sha256-"  # begins the name of a blob that is being reclaimed, directly in the trash


class Trash:
    """One removal: a directory below `trash/`. As long as a seal is in it, that snapshot's removal is unfinished."""

    def __init__(self, layout: Layout, path: Path) -> None:
        self._layout = layout
        self.path = path

    @classmethod
    def begin(cls, layout: Layout) -> Trash:
        """A new, empty one."""
        path = layout.trash / Owner.current().unique_name()
        try:
            os.mkdir(path, 0o700)
        except OSError as error:
            if error.errno not in FULL:
                raise
            # A full tier is where removing matters most: a directory was kept for this.
            os.rename(layout.trash / SPARE, path)
        sync_directory(layout.trash)
        return cls(layout, path)

    def take(self, directory: int, name: str, kept: str) -> bool:
        """Move what is there under a name here; False if there is nothing."""
        with self.opened() as here:
            try:
                os.rename(name, kept, src_dir_fd=directory, dst_dir_fd=here)
            except FileNotFoundError:
                return False
            return True

    def give_back(self, directory: int, name: str, kept: str) -> None:
        """Undo `take`, unless somebody put something else there meanwhile."""
        with self.opened() as here, contextlib.suppress(FileNotFoundError, FileExistsError):
            try:
                os.link(kept, name, src_dir_fd=here, dst_dir_fd=directory, follow_symlinks=False)
            except OSError as error:
                if error.errno not in NO_LINKS or walk.look(directory, name) is not None:
                    raise
                os.rename(kept, name, src_dir_fd=here, dst_dir_fd=directory)
            sync_directory(directory)

    def names(self) -> list[str]:
        """What lies here."""
        return names(self.path)

    def look(self, kept: str) -> os.stat_result | None:
        """What lies here under a name."""
        with self.opened() as here:
            return walk.look(here, kept)

    def empty(self) -> int:
        """Delete everything here, the seal last; the bytes of the snapshot's files that nothing else links."""
        with self.opened() as here:
            last = [info for path, info in walk.files(here) if path.startswith(f"{SNAPSHOT}/") and info.st_nlink == 1]
            freed = sum(info.st_size for info in last if stat.S_ISREG(info.st_mode))
            for kept in sorted(os.listdir(here), key=lambda kept: kept == SEAL):
                walk.remove(here, kept)
        keep_spare(self._layout, self.path)
        return freed

    @contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor of this directory."""
        with walk.opened(self._layout.trash, self.path) as here:
            yield here


def keep_spare(layout: Layout, emptied: Path) -> None:
    """Keep an emptied directory for the next removal on a full tier, or delete it if one is kept already."""
    try:
        os.rename(emptied, layout.trash / SPARE)
    except OSError:
        # A directory replaces an empty one, so this was not to be kept: somebody put something into it, or it is gone.
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(emptied)
