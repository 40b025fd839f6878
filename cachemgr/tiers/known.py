"""What the bytes behind a key turned out to be, for files whose origin knows no sha256 of them."""

from __future__ import annotations

import contextlib
import os
import re

from cachemgr.domain.digest import Digest
from cachemgr.domain.errors import Usage
from cachemgr.domain.names import escape
from cachemgr.tiers.durable import names, read_bytes, remove_file
from cachemgr.tiers.layout import Layout
from cachemgr.tiers.owner import Owner

KEEP_SECONDS = 86400.0
"""How long a note is kept: until then the snapshot is sealed, and its seal says the same."""

_NOTE = re.compile(rb"[0-9a-f]{64}\n", re.ASCII)
_NOTE_BYTES = 4096


class Known:
    """Hints, each checked against the blob that it names. All methods block."""

    def __init__(self, layout: Layout) -> None:
        self._directory = layout.known

    def remember(self, key: str, digest: Digest) -> None:
        """Note it; not durably, since it can be fetched again."""
        path = self._directory / escape(key)
        scratch = self._directory / f".{Owner.current().unique_name()}"
        with open(scratch, "xb") as stream:
            stream.write(f"{digest.value}\n".encode())
        os.replace(scratch, path)

    def recall(self, key: str) -> Digest | None:
        """What was noted for a key; its blob may be gone."""
        try:
            text = read_bytes(self._directory / escape(key), _NOTE_BYTES)
        except (OSError, Usage):
            return None
        return Digest.sha256(text.decode().strip()) if _NOTE.fullmatch(text) else None

    def sweep(self, now: float) -> None:
        """Forget what is a day old by the tier's clock."""
        for name in names(self._directory):
            path = self._directory / name
            with contextlib.suppress(FileNotFoundError):
                if now - os.lstat(path).st_mtime > KEEP_SECONDS:
                    remove_file(path)
