"""Digests of files that are part of a step's identity (weights, data), remembered by file stamp.

Where data lie is no part of it: a folder counts by the names below it and by content, wherever a
link leads to. What systems leave in folders does not count, so no reader of data may read it.

A byte that changes without size, time and inode is not seen; `rehash` reads everything again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.identity.canonical import canonical_json
from threedrs_platform.identity.folder_listing import (
    FolderListing,
    Stamp,
    list_folder,
    stamp,
    unreadable,
)
from threedrs_platform.identity.folder_memo import Digests, FolderMemo
from threedrs_platform.identity.recipes import sha256_file, sha256_text
from threedrs_platform.storage import keep_memo, read_json_cache

RACY_SECONDS = 0.05
"""A file changed this recently may change again within the same time stamp: not remembered."""
READERS = 8
"""Threads that hash; Python lets them run side by side."""
FILES_AT_ONCE = 64
"""Files that are remembered together: what a killed hash has to read again."""
UNHASHED = "unhashed:"
"""Begins what stands in a plan for the digest of content that nobody has read yet."""
BYTES_PER_OPEN = 1 << 18
"""What opening a file costs, in bytes read: a hundred thousand text files are no small folder."""


class StampedCache:
    """A memo from (path, stamp) to a JSON value, kept in one file of the workspace."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._entries: dict[str, Any] | None = None
        self._changed = False

    def get(self, file: str, status: os.stat_result) -> Any | None:
        """The remembered value, None if the file is unknown or changed since."""
        if self._entries is None:
            self._entries = {} if self.path is None else read_json_cache(self.path)
        known = self._entries.get(file)
        return known["value"] if known and tuple(known["stamp"]) == stamp(status) else None

    def put(self, file: str, status: os.stat_result, value: Any) -> None:
        """Remember a value, unless the file is so young that its stamp proves nothing."""
        assert self._entries is not None
        if time.time() - status.st_mtime > RACY_SECONDS:
            self._entries[file] = {"stamp": stamp(status), "value": value}
            self._changed = True

    def save(self) -> None:
        """Write the memo if it changed."""
        if self._changed and self.path is not None:
            keep_memo(self.path, json.dumps(self._entries).encode())
        self._changed = False


@dataclass(frozen=True)
class Unhashed:
    """Data that are here, but that nobody has read yet."""

    setting: str
    size: int
    """Bytes to read."""
    files: int


class _TooMuch(Exception):
    def __init__(self, size: int, files: int) -> None:
        self.size, self.files = size, files
        super().__init__(size)


Progress = Callable[[Path, int, int], None]
"""Told of a folder that is read: bytes read, and bytes to read in all."""


@dataclass
class FileDigests:
    """sha256 of files and folders of files, read again only when their stamps change.

    One object walks a folder once: all cells of a plan ask for the same folders.
    """

    cache_file: Path | None = None
    """Of single files; folders have theirs in `folders` beside it."""
    absent: dict[str, str] | None = None
    """Where to note data that is not here, path -> setting, for plans of work that runs elsewhere;
    None refuses it."""
    most_bytes: int | None = None
    """Read no more than this, and note in `unhashed` what would take more; None reads all."""
    rehash: bool = False
    """Forget what was remembered, and read everything again."""
    progress: Progress = lambda folder, done, total: None
    unhashed: dict[str, Unhashed] = field(default_factory=dict)
    """By path; their steps have stand-ins for keys and can be planned, not run."""
    _trees: dict[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._cache = StampedCache(self.cache_file)
        self._reread: set[str] = set()

    def file(self, path: Path) -> str:
        """Digest of one file's content.

        Raises:
            DataError: it is not there or not readable; a key part that cannot be computed is an
                error.
        """
        try:
            status = path.stat()
            name = str(path.resolve())
            known = self._cache.get(name, status)
            if known is None or (self.rehash and name not in self._reread):
                self._spend(status.st_size, 1)
                known = sha256_file(path)
                self._cache.put(name, status, known)
                self._reread.add(name)
        except OSError as error:
            raise unreadable(path, error) from error
        return str(known)

    def tree(self, path: Path) -> str:
        """Digest of a file, or of all files of a folder with their names.

        Raises:
            DataError: a file or folder in it cannot be read, or a link leads nowhere or in circles.
        """
        if not os.path.isdir(path):
            return self.file(path)
        place = path.resolve()
        if place not in self._trees:
            self._trees[place] = self._tree(path, place)
        return self._trees[place]

    def of(self, path: str, setting: str) -> str:
        """Digest of a file or folder that a setting names; of absent data a stand-in, if allowed.

        Raises:
            ConfigError: it is not here, and absent data is refused.
            DataError: it is here, but not readable.
        """
        try:
            Path(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise unreadable(Path(path), error) from error
        else:
            return self._of(path, setting)
        if self.absent is None:
            raise ConfigError([Fault(f"{path}: no such file or folder", path=setting)])
        self.absent[path] = setting
        return f"absent:{setting}"

    def save(self) -> None:
        """Keep the memo for the next process."""
        self._cache.save()

    def _of(self, path: str, setting: str) -> str:
        if path not in self.unhashed:
            try:
                return self.tree(Path(path))
            except _TooMuch as much:
                self.unhashed[path] = Unhashed(setting, much.size, much.files)
        return f"{UNHASHED}{setting}"

    def _tree(self, path: Path, place: Path) -> str:
        listing = list_folder(path)
        memos = None if self.cache_file is None else self.cache_file.parent / "folders"
        memo = FolderMemo(memos, place)
        if not self.rehash and (remembered := memo.digest(listing)) is not None:
            return remembered
        digests: Digests = {} if self.rehash else memo.known(listing)
        self._read(listing, digests, memo)
        by_name = {
            f"{folder}/{name}" if folder else name: digest
            for folder, files in digests.items()
            for name, digest in files.items()
        }
        digest = sha256_text("tree:" + canonical_json(by_name))
        if not _is_racy(listing.youngest_ns):
            memo.keep(listing, digest, digests)
        return digest

    def _read(self, listing: FolderListing, digests: Digests, memo: FolderMemo) -> None:
        """Hash what has no digest yet, remembering it bit by bit."""
        missing = {
            folder: {n: s for n, s in files.items() if n not in digests.get(folder, {})}
            for folder, files in listing.folders.items()
        }
        total = sum(stamp[0] for files in missing.values() for stamp in files.values())
        self._spend(total, sum(map(len, missing.values())))
        done = 0
        with ThreadPoolExecutor(READERS) as pool:
            for folder, files in missing.items():
                for names in _batches(files):
                    paths = [listing.root / folder / name for name in names]
                    found = dict(zip(names, pool.map(_digest, paths), strict=True))
                    digests.setdefault(folder, {}).update(found)
                    memo.add(folder, files, _settled(files, found))
                    done += sum(files[name][0] for name in names)
                    self.progress(listing.root, done, total)

    def _spend(self, size: int, files: int) -> None:
        if self.most_bytes is None:
            return
        cost = size + files * BYTES_PER_OPEN
        if cost > self.most_bytes:
            raise _TooMuch(size, files)
        self.most_bytes -= cost


def _batches(names: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(names)
    while batch := list(islice(rest, FILES_AT_ONCE)):
        yield batch


def _digest(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise unreadable(path, error) from error


def _is_racy(changed_ns: int) -> bool:
    return time.time() - changed_ns / 1e9 <= RACY_SECONDS


def _settled(stamps: Mapping[str, Stamp], digests: Mapping[str, str]) -> dict[str, str]:
    """Digests of files that are old enough for their stamp to prove something."""
    return {name: each for name, each in digests.items() if not _is_racy(stamps[name][1])}
