"""The digests that are computed while bytes pass by."""

from __future__ import annotations

import hashlib

from cachemgr.domain.digest import Seen, git_blob_hash


class Hashes:
    """sha256 and, when asked, git-sha1 of `size` bytes that are fed in order."""

    def __init__(self, size: int, *, git_sha1: bool) -> None:
        self._sha256 = hashlib.sha256()
        self._git_sha1 = git_blob_hash(size) if git_sha1 else None

    def update(self, data: memoryview) -> None:
        """Feed the next bytes (releases the GIL)."""
        self._sha256.update(data)
        if self._git_sha1 is not None:
            self._git_sha1.update(data)

    def seen(self, size: int) -> Seen:
        """What the `size` bytes fed so far turned out to be."""
        return Seen(size, self._sha256.hexdigest(), self._git_sha1.hexdigest() if self._git_sha1 else None)
