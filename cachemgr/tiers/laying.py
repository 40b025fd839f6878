"""How a snapshot's directory comes to be: built aside and renamed, or filled where others began it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeGuard

from cachemgr.domain.manifest import Entry, Manifest
from cachemgr.tiers import walk
from cachemgr.tiers.durable import sync_directory
from cachemgr.tiers.layout import Layout
from cachemgr.tiers.links import Linker, is_blob
from cachemgr.tiers.quarantine import Quarantine
from cachemgr.tiers.seals import Origins, Seal


@dataclass(frozen=True, slots=True)
class Stamp:
    """One state of one file: equal stamps mean that nobody wrote to it in between."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, info: os.stat_result) -> Stamp:
        return cls(info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


class Changed(Exception):
    """Somebody else changed the directory under our hands: look again."""


def build(tree: Path, entries: Iterable[Entry], linker: Linker) -> Origins:
    """Lay out `entries` below the new directory `tree`, durably."""
    copies = set()
    os.mkdir(tree)
    with walk.opened(tree, tree) as root:
        for parents, group in _by_directory(entries):
            with walk.below(root, parents, make=True) as directory:
                copies |= {entry.path for entry in group if not linker.place(entry, directory, _name(entry))}
                sync_directory(directory)
    return Origins(copies=frozenset(copies))


def survey(root: int, entries: Iterable[Entry], blobs: int) -> dict[str, Stamp]:
    """The files of others that may be right: they are regular, have the right size, and are no links to our blobs."""
    suspects = {}
    for parents, group in _by_directory(entries):
        with suppress(FileNotFoundError, NotADirectoryError), walk.below(root, parents) as directory:
            for entry in group:
                info = walk.look(directory, _name(entry))
                if _may_be(info, entry) and not is_blob(blobs, entry, info):
                    suspects[entry.path] = Stamp.of(info)
    return suspects


class Filler:
    """Completes a directory that is there already, one entry at a time; what is right stays."""

    def __init__(self, root: int, linker: Linker, layout: Layout, right: Mapping[str, Stamp], old: Seal | None) -> None:
        """`right`: surveyed files that were hashed and found right; `old`: what is sealed in this directory."""
        self._root = root
        self._linker = linker
        self._quarantine = Quarantine(layout)
        self._right = right
        self._ours = frozenset() if old is None else frozenset(entry.path for entry in old.manifest.entries)
        self._foreign = set() if old is None else set(old.origins.foreign)
        self._copies = set() if old is None else set(old.origins.copies)

    def fill(self, entries: Iterable[Entry]) -> None:
        """Make every entry right, durably."""
        for parents, group in _by_directory(entries):
            with walk.below(self._root, parents, make=True, clear=self._clear) as directory:
                for entry in group:
                    self._ensure(entry, directory)
                sync_directory(directory)

    def origins(self, manifest: Manifest) -> Origins:
        """Whose the files are now."""
        listed = {entry.path for entry in manifest.entries}
        strangers = any(
            path not in listed and not (stat.S_ISREG(info.st_mode) and self._linker.is_ours(info))
            for path, info in walk.files(self._root)
        )
        return Origins(frozenset(self._foreign & listed), frozenset(self._copies & listed), strangers)

    def _ensure(self, entry: Entry, directory: int) -> None:
        info = walk.look(directory, _name(entry))
        if _may_be(info, entry):
            if self._linker.is_blob(entry, info) or entry.path in self._foreign | self._copies:
                return
            if self._right.get(entry.path) == Stamp.of(info):
                _sync_file(directory, _name(entry))
                self._foreign |= {entry.path} - self._ours
                return
        self._foreign.discard(entry.path)
        self._copies.discard(entry.path)
        if not self._put(entry, directory, info):
            self._copies.add(entry.path)

    def _put(self, entry: Entry, directory: int, info: os.stat_result | None) -> bool:
        name = _name(entry)
        if info is None:
            try:
                return self._linker.place(entry, directory, name)
            except FileExistsError:
                raise Changed(entry.path) from None
        if stat.S_ISDIR(info.st_mode):
            self._set_aside(directory, name)
        return self._linker.replace(entry, directory, name)

    def _clear(self, directory: int, name: str) -> None:
        info = walk.look(directory, name)
        if info is not None and not stat.S_ISDIR(info.st_mode):
            self._set_aside(directory, name)

    def _set_aside(self, directory: int, name: str) -> None:
        # Quarantine and not deletion: whatever it is, it is not ours, and it cannot be what the revision has there.
        reason = "it stood where the revision has something else"
        self._quarantine.take_entry(directory, name, {"file": name, "reason": reason})


def _sync_file(directory: int, name: str) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _may_be(info: os.stat_result | None, entry: Entry) -> TypeGuard[os.stat_result]:
    return info is not None and stat.S_ISREG(info.st_mode) and info.st_size == entry.size


def _by_directory(entries: Iterable[Entry]) -> Iterator[tuple[tuple[str, ...], Iterator[Entry]]]:
    return groupby(sorted(entries, key=lambda entry: (_parents(entry), entry.path)), key=_parents)


def _parents(entry: Entry) -> tuple[str, ...]:
    return tuple(entry.path.split("/")[:-1])


def _name(entry: Entry) -> str:
    return entry.path.rsplit("/", 1)[-1]
