"""What the Hugging Face client wants beside a snapshot, to fetch nothing again and to take no part for the whole.

`blobs/<etag>`: an online client links what is there after the repository moved, and fetches what is not.
`trees/<commit>.json`: the list of all files; with it an offline client refuses a filtered snapshot as incomplete.
`refs/<name>`: which commit a branch or tag is, without a newline.
Other clients write here, too: nothing of theirs is replaced but a ref, and nothing here proves anything to us.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator

from cachemgr.domain.digest import git_blob_hash
from cachemgr.domain.errors import Usage
from cachemgr.domain.manifest import Entry, Manifest
from cachemgr.domain.names import check_relative, escape
from cachemgr.domain.ref import Ref
from cachemgr.tiers import walk
from cachemgr.tiers.durable import NO_LINKS, names, read_bytes, sync_directory, write_scratch
from cachemgr.tiers.layout import Layout, blob_name
from cachemgr.tiers.trash import Trash

log = logging.getLogger(__name__)

_ETAG = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)
_REF_BYTES = 256
_KEPT = "blob-"
_HOPELESS = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EROFS})
_TREE_BYTES = 256 << 20


class HubCache:
    """One tier's hub directory as its other users see it; all methods block."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def announce(self, manifest: Manifest, ref: Ref | None) -> None:
        """Let hub clients use a sealed snapshot: blobs, list of files, and the ref last. OSError if the ref fails."""
        if manifest.scheme != "hf":
            return
        with _optional("blobs", manifest):
            self._link_blobs(manifest)
        if manifest.have is not None:
            with _optional("trees", manifest):
                self._write_tree(manifest)
        if ref is not None and not ref.fixed:
            self._write_ref(manifest, ref)

    def _link_blobs(self, manifest: Manifest) -> None:
        with self._opened(manifest, "blobs", make=True) as blobs, self._our_blobs() as ours:
            there = set(os.listdir(blobs))
            for entry in manifest.entries:
                if entry.etag and entry.etag not in there and _ETAG.fullmatch(entry.etag):
                    there.add(entry.etag)
                    _try_link(blob_name(entry.digest), ours, entry.etag, blobs)
            sync_directory(blobs)

    def _write_tree(self, manifest: Manifest) -> None:
        data = tree_json(manifest)
        if data is None:
            return
        with self._opened(manifest, "trees", make=True) as trees:
            name = f"{manifest.revision}.json"
            if walk.look(trees, name) is None:
                self._put(data, trees, name)

    def _write_ref(self, manifest: Manifest, ref: Ref) -> None:
        try:
            *parents, name = check_relative(ref.revision).split("/")
            with self._opened(manifest, "/".join(["refs", *parents]), make=True) as refs:
                if _content(refs, name) != manifest.revision.encode():
                    self._put(manifest.revision.encode(), refs, name)
        except (Usage, NotADirectoryError, IsADirectoryError, FileExistsError) as error:
            # Others keep something else under that name; our own readers do not need this file.
            log.warning("a ref cannot be written for hub clients", extra={"ref": str(ref), "error": str(error)})

    def _put(self, data: bytes, directory: int, name: str) -> None:
        # 0644 whatever the umask: the client's own temporary files would make it 0600.
        scratch = write_scratch(self._layout.staging, data)
        try:
            os.chmod(scratch, 0o644)
            os.rename(scratch, name, dst_dir_fd=directory)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(scratch)
        sync_directory(directory)

    def withdraw_refs(self, manifest: Manifest, trash: Trash) -> None:
        """Take away the hub's refs to a commit whose snapshot is about to go."""
        commit = manifest.revision.encode()
        with _in_the_way("refs", manifest), self._opened(manifest, "refs") as refs:
            for path, _ in [*walk.files(refs)]:
                *parents, name = path.split("/")
                kept = f"ref-{escape(path)[-200:]}"
                with contextlib.suppress(FileNotFoundError), walk.below(refs, parents) as directory:
                    if _content(directory, name) == commit and trash.take(directory, name, kept):
                        self._review_ref(commit, directory, name, trash, kept)

    def _review_ref(self, commit: bytes, directory: int, name: str, trash: Trash, kept: str) -> None:
        with trash.opened() as here:
            moved = _content(here, kept) != commit
        if moved:
            # Rewritten between the look and the rename.
            trash.give_back(directory, name, kept)

    def withdraw_blobs(self, manifest: Manifest, needed: Iterable[str], trash: Trash) -> None:
        """Take away our links in the hub's blobs that no symbolic link of that repository needs, nor `needed`.

        Safe to repeat after a crash: what lies in the trash already is looked at again.
        """
        entries = {entry.etag: entry for entry in manifest.entries if entry.etag and _ETAG.fullmatch(entry.etag)}
        keep = set(needed)
        with _in_the_way("blobs", manifest), self._opened(manifest, "blobs") as blobs, self._our_blobs() as ours:
            mine = {etag for etag, entry in entries.items() if _is_link(blobs, etag, ours, entry)}
            for etag in mine - keep - self._linked(manifest):
                trash.take(blobs, etag, _KEPT + etag)
            with trash.opened() as here:
                keep |= {etag for etag, entry in entries.items() if not _is_link(here, _KEPT + etag, ours, entry)}
            # Replaced or linked by a client meanwhile: it gets it back.
            for etag in entries.keys() & (keep | self._linked(manifest)):
                trash.give_back(blobs, etag, _KEPT + etag)

    def withdraw_tree(self, manifest: Manifest, trash: Trash) -> None:
        """Take away the list of files if it is the one that we wrote."""
        data = tree_json(manifest)
        with _in_the_way("trees", manifest), self._opened(manifest, "trees") as trees:
            if data is not None and _content(trees, f"{manifest.revision}.json", _TREE_BYTES) == data:
                trash.take(trees, f"{manifest.revision}.json", "tree.json")

    def withdraw(self, bad: os.stat_result) -> None:
        """Take away every link to a file whose bytes went bad from the blobs of all repositories."""
        for repo in names(self._layout.hub):
            path = self._layout.hub / repo / "blobs"
            with contextlib.suppress(OSError), walk.opened(self._layout.hub, path) as blobs:
                for name in os.listdir(blobs):
                    info = walk.look(blobs, name)
                    if info is not None and os.path.samestat(info, bad):
                        os.unlink(name, dir_fd=blobs)

    def _linked(self, manifest: Manifest) -> set[str]:
        """The etags that a symbolic link in a snapshot of this repository leads to."""
        with contextlib.suppress(FileNotFoundError), self._opened(manifest, "snapshots") as snapshots:
            return {os.path.basename(target) for target in walk.symlinks(snapshots)}
        return set()

    def _opened(self, manifest: Manifest, below: str, *, make: bool = False) -> contextlib.AbstractContextManager[int]:
        path = self._layout.repo(manifest.scheme, manifest.name) / below
        return walk.opened(self._layout.anchor(manifest.scheme), path, make=make)

    def _our_blobs(self) -> contextlib.AbstractContextManager[int]:
        return walk.opened(self._layout.root, self._layout.blobs)


def tree_json(manifest: Manifest) -> bytes | None:
    """The list of all files of a revision as the hub client caches it; None if an entry lacks what it needs."""
    listed: dict[str, dict[str, object]] = {}
    for entry in sorted(manifest.files, key=lambda entry: entry.path):
        if entry.etag is None or not _ETAG.fullmatch(entry.etag):
            return None
        listed[entry.path] = _tree_entry(entry.etag, entry.size)
    return json.dumps({"format_version": 1, "files": listed}, indent=1).encode()


def _tree_entry(etag: str, size: int) -> dict[str, object]:
    if len(etag) == 40:
        return {"size": size, "blob_id": etag}
    # What git itself keeps of a large file is a pointer of this form.
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{etag}\nsize {size}\n".encode()
    blob_id = git_blob_hash(len(pointer))
    blob_id.update(pointer)
    return {"size": size, "blob_id": blob_id.hexdigest(), "lfs_sha256": etag, "lfs_size": size}


@contextlib.contextmanager
def _optional(what: str, manifest: Manifest) -> Iterator[None]:
    """What cannot be written here costs other clients a download, never us a snapshot."""
    try:
        yield
    except OSError as error:
        log.warning("the hub cache cannot be kept", extra={"what": what, "id": manifest.id, "error": str(error)})


@contextlib.contextmanager
def _in_the_way(what: str, manifest: Manifest) -> Iterator[None]:
    """What others made of these directories cannot be helped; any other error ends a removal, to be taken up again."""
    try:
        yield
    except OSError as error:
        if error.errno not in _HOPELESS:
            raise
        if error.errno != errno.ENOENT:
            log.warning("the hub cache cannot be cleared", extra={"what": what, "id": manifest.id, "error": str(error)})


def _try_link(blob: str, ours: int, etag: str, blobs: int) -> None:
    with contextlib.suppress(FileExistsError, FileNotFoundError):
        try:
            os.link(blob, etag, src_dir_fd=ours, dst_dir_fd=blobs, follow_symlinks=False)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise


def _is_link(directory: int, name: str, ours: int, entry: Entry) -> bool:
    info, blob = walk.look(directory, name), walk.look(ours, blob_name(entry.digest))
    return info is not None and blob is not None and os.path.samestat(info, blob)


def _content(directory: int, name: str, limit: int = _REF_BYTES) -> bytes | None:
    try:
        return read_bytes(name, limit, dir_fd=directory)
    except Usage:
        return None
    except OSError as error:
        if error.errno not in _HOPELESS:
            raise
        return None
