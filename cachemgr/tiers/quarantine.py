"""Where bad bytes go, with the reason: the newest per file, so that failing for ever cannot fill a tier."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

from cachemgr.tiers import walk
from cachemgr.tiers.durable import names, write_json
from cachemgr.tiers.layout import Layout
from cachemgr.tiers.owner import Owner

log = logging.getLogger(__name__)

KEEP_SECONDS = 7 * 86400.0


class Quarantine:
    """All methods block: call them in the tier's pool."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def take(self, source: Path, name: str, reason: Mapping[str, object]) -> bool:
        """Move a file or directory here under `name`; False if it was not there or could not be kept.

        Evidence is worth keeping, but never worth failing for: the caller already has an error to raise.
        """
        try:
            self._clear(name)
            os.replace(source, self._layout.quarantine / name)
            self._note(name, reason)
        except FileNotFoundError:
            return False
        except OSError as error:
            log.warning("bad bytes could not be kept in quarantine", extra={"file": name, "error": str(error)})
            return False
        return True

    def take_entry(self, directory: int, name: str, reason: Mapping[str, object]) -> None:
        """Move what lies under a name in an open directory here; OSError if that cannot be done."""
        kept = f"entry.{Owner.current().unique_name()}"
        with walk.opened(self._layout.root, self._layout.quarantine) as here:
            os.rename(name, kept, src_dir_fd=directory, dst_dir_fd=here)
        self._note(kept, reason)

    def bytes(self) -> int:
        """How much lies here."""
        return sum(size for _, size, _ in self._kept())

    def purge(self, older_than: float | None = None) -> int:
        """Delete what lies here, or what was put here before a time by the tier's own clock; the bytes freed."""
        freed = 0
        for name, size, changed in self._kept():
            if older_than is None or changed < older_than:
                self._clear(name)
                freed += size
        return freed

    def _kept(self) -> list[tuple[str, int, float]]:
        found = []
        for name in names(self._layout.quarantine):
            try:
                info = os.lstat(self._layout.quarantine / name)
            except FileNotFoundError:
                continue
            found.append((name, info.st_size, info.st_ctime))
        return found

    def _clear(self, name: str) -> None:
        with walk.opened(self._layout.root, self._layout.quarantine) as here:
            walk.remove(here, name)

    def _note(self, name: str, reason: Mapping[str, object]) -> None:
        note = {"name": name, "at": time.time(), **reason}
        log.warning("bad bytes are in quarantine", extra={"quarantined": name, **reason})
        write_json(self._layout.quarantine / f"{name}.json", note, self._layout.staging)
