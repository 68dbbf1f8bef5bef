"""What lies below a folder of data, told without reading a file: names, sizes, times, inodes.

What is hidden, or left in folders by a system, is no data.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from threedrs_platform.errors import DataError

Stamp = tuple[int, int, int]
"""Size, time of change in nanoseconds, inode: tells a changed file from an unchanged one."""
Folders = Mapping[str, Mapping[str, Stamp]]

CLUTTER = {"Thumbs.db", "__MACOSX", "desktop.ini"}
WALKERS = 8
"""Threads that list where the file system is slow to answer."""
SLOW_SECONDS = 3e-5
"""Per file: a local disk answers ten times as fast, and then threads stand in each other's way."""
TRIED = 4
"""Folders that are listed to find out."""


@dataclass(frozen=True)
class FolderListing:
    """The data files below a folder, wherever links lead to."""

    root: Path
    folders: Folders
    """Stamps by file name, by folder below the root ("" is the root itself)."""

    @cached_property
    def fingerprint(self) -> str:
        """Equal for listings in which no name, size, time or inode differs."""
        whole = hashlib.sha256()
        for folder in sorted(self.folders):
            files = self.folders[folder]
            lines = [f"{name}\0{files[name]}" for name in sorted(files)]
            whole.update("\0\0".join([folder, *lines]).encode("utf-8", "surrogateescape"))
        return whole.hexdigest()

    @property
    def youngest_ns(self) -> int:
        """When a file was last changed."""
        stamps = (stamp for files in self.folders.values() for stamp in files.values())
        return max((changed for _, changed, _ in stamps), default=0)


def stamp(status: os.stat_result) -> Stamp:
    """What tells a changed file from an unchanged one without reading it."""
    return (status.st_size, status.st_mtime_ns, status.st_ino)


def list_folder(root: Path) -> FolderListing:
    """List a folder and all below it.

    Raises:
        DataError: a file or folder in it cannot be read, or a link leads nowhere or in circles.
    """
    own, below = _entries(root)
    place = (root.resolve(),)
    found: dict[str, Mapping[str, Stamp]] = {"": own}

    def listed(name: str) -> Folders:
        return _below(root / name, name, place)

    began, first = time.monotonic(), below[:TRIED]
    for name in first:
        found |= listed(name)
    files = sum(map(len, found.values()))
    if time.monotonic() - began <= SLOW_SECONDS * files:
        for name in below[TRIED:]:
            found |= listed(name)
        return FolderListing(root, found)
    with ThreadPoolExecutor(WALKERS) as pool:
        for folders in pool.map(listed, below[TRIED:]):
            found |= folders
    return FolderListing(root, found)


def _below(folder: Path, name: str, above: tuple[Path, ...]) -> Folders:
    place = folder.resolve()
    if place in above:
        raise DataError(f"{folder}: links to a folder that it is in, without end; remove the link")
    own, below = _entries(folder)
    found = {name: own}
    for each in below:
        found |= _below(folder / each, f"{name}/{each}", (*above, place))
    return found


def _entries(folder: Path) -> tuple[Mapping[str, Stamp], list[str]]:
    """Files with their stamps, and names of folders."""
    files: dict[str, Stamp] = {}
    folders = []
    try:
        with os.scandir(folder) as found:
            for entry in found:
                name = entry.name
                if name[0] == "." or name in CLUTTER:
                    continue
                if entry.is_dir():
                    folders.append(name)
                # Links to nothing are told as unreadable files; pipes and sockets are no data.
                elif entry.is_file() or entry.is_symlink():
                    files[name] = stamp(entry.stat())
    except OSError as error:
        raise unreadable(Path(error.filename or folder), error) from error
    return files, sorted(folders)


def unreadable(path: Path, error: OSError) -> DataError:
    """The error of a file or folder that is part of a key and cannot be read."""
    reason = error.strerror
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        reason = f"it links to {os.readlink(path)}, which is not there"
    return DataError(f"{path}: cannot be read, so it has no digest: {reason}")
