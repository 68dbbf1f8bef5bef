"""Digests of files that are part of a step's identity (weights, data), remembered by file stamp.

Where data lie is no part of it: a folder counts by the names below it and by content, wherever a
link leads to. What systems leave in folders does not count, so no reader of data may read it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threedrs_platform.errors import ConfigError, DataError, Fault
from threedrs_platform.identity.recipes import canonical_json, sha256_file, sha256_text
from threedrs_platform.storage import read_json_cache, write_atomically

RACY_SECONDS = 0.05
"""A file changed this recently may change again within the same time stamp: not remembered."""

CLUTTER = {"Thumbs.db", "__MACOSX", "desktop.ini"}


def is_clutter(name: str) -> bool:
    """Whether a file or folder is hidden, or left by a system and no data."""
    return name.startswith(".") or name in CLUTTER


def stamp(status: os.stat_result) -> list[int]:
    """What tells a changed file from an unchanged one without reading it."""
    return [status.st_size, status.st_mtime_ns, status.st_ino]


@dataclass
class StampedCache:
    """A memo from (path, stamp) to a JSON value, kept in one file of the workspace."""

    path: Path | None = None
    _entries: dict[str, Any] | None = None
    _changed: bool = False

    def get(self, file: str, status: os.stat_result) -> Any | None:
        """The remembered value, None if the file is unknown or changed since."""
        if self._entries is None:
            self._entries = {} if self.path is None else read_json_cache(self.path)
        known = self._entries.get(file)
        return known["value"] if known and known["stamp"] == stamp(status) else None

    def put(self, file: str, status: os.stat_result, value: Any) -> None:
        """Remember a value, unless the file is so young that its stamp proves nothing."""
        assert self._entries is not None
        if time.time() - status.st_mtime > RACY_SECONDS:
            self._entries[file] = {"stamp": stamp(status), "value": value}
            self._changed = True

    def save(self) -> None:
        """Write the memo if it changed."""
        if self._changed and self.path is not None:
            write_atomically(self.path, json.dumps(self._entries).encode())
        self._changed = False


@dataclass
class FileDigests:
    """sha256 of files and folders of files, read again only when their stamps change.

    One object walks a folder once: all cells of a plan ask for the same folders.
    """

    cache_file: Path | None = None
    absent: dict[str, str] | None = None
    """Where to note data that is not here, path -> setting, for plans of work that runs elsewhere;
    None refuses it."""
    _trees: dict[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._cache = StampedCache(self.cache_file)

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
            if known is None:
                known = sha256_file(path)
                self._cache.put(name, status, known)
        except OSError as error:
            raise _unreadable(path, error) from error
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
            files = sorted(_data_files(path, ()))
            digests = {file.relative_to(path).as_posix(): self.file(file) for file in files}
            self._trees[place] = sha256_text("tree:" + canonical_json(digests))
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
            raise _unreadable(Path(path), error) from error
        else:
            return self.tree(Path(path))
        if self.absent is None:
            raise ConfigError([Fault(f"{path}: no such file or folder", path=setting)])
        self.absent[path] = setting
        return f"absent:{setting}"

    def save(self) -> None:
        """Keep the memo for the next process."""
        self._cache.save()


def _data_files(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    place = folder.resolve()
    if place in above:
        raise DataError(f"{folder}: links to a folder that it is in, without end; remove the link")
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not is_clutter(entry.name)]
        folders = [entry.name for entry in entries if entry.is_dir()]
        # Links to nothing are told as unreadable files; pipes and sockets are no data.
        files = [entry.name for entry in entries if entry.is_file() or entry.is_symlink()]
    except OSError as error:
        raise _unreadable(Path(error.filename), error) from error
    yield from (folder / name for name in files if name not in folders)
    for name in folders:
        yield from _data_files(folder / name, (*above, place))


def _unreadable(path: Path, error: OSError) -> DataError:
    reason = error.strerror
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        reason = f"it links to {os.readlink(path)}, which is not there"
    return DataError(f"{path}: cannot be read, so it has no digest: {reason}")
