"""File-system effects that must survive a crash, and their failures in plain words."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from threedrs_platform.errors import StorageError

_CURES = {
    errno.ENOSPC: "the disk is full; free some space (`workflows gc --apply`)",
    errno.EDQUOT: "the disk quota is used up; free some space (`workflows gc --apply`)",
    errno.EROFS: "the file system is read-only; choose a writable --workspace",
    errno.EACCES: "permission denied; choose a --workspace you may write to",
    errno.EPERM: "operation not permitted; choose a --workspace you may write to",
    errno.EIO: "the disk reports an input/output error",
    errno.ESTALE: "the network file system lost the file handle; try again",
}
_CURES_OF_PLACES = {
    errno.ENOTDIR: "a file is where a folder would have to be; choose another place",
    errno.EEXIST: "a file is where a folder would have to be; choose another place",
    errno.ENOENT: "no folder can be made there; choose another place",
    errno.EISDIR: "a folder is where a file would have to be; choose another place",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ELOOP: "its links lead in a circle; choose another place",
    errno.EINVAL: "the file system takes no such name; choose another place",
}
"""Of a place that a person chose. Elsewhere they are faults of ours."""


def storage_error(error: OSError, doing: str) -> StorageError | None:
    """The error as a `StorageError` if storage itself is to blame, else None."""
    cure = _CURES.get(error.errno or 0)
    if cure is None:
        return None
    return StorageError(f"cannot {doing}: {cure}")


@contextlib.contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Turn a full, read-only or forbidden disk into a `StorageError` that says what was tried."""
    try:
        yield
    except OSError as error:
        translated = storage_error(error, doing)
        if translated is None:
            raise
        raise translated from error


@contextlib.contextmanager
def place_errors(doing: str) -> Iterator[None]:
    """As `storage_errors`, in a place that a person chose: where nothing can be made is told, too.

    Raises:
        StorageError: what was tried, why it did not go, what to do.
    """
    with storage_errors(doing):
        try:
            yield
        except OSError as error:
            cure = _CURES_OF_PLACES.get(error.errno or 0)
            if cure is None:
                raise
            raise StorageError(f"cannot {doing}: {cure}") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that readers see the old content or the new, never a part."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with place_errors(f"write {path}"):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def keep_memo(path: Path, content: bytes) -> None:
    """Replace a file that only saves time, where the disk lets us: an archive is read only, and a
    full disk is when one looks at what one has."""
    with contextlib.suppress(StorageError):
        write_atomically(path, content)


def read_json_cache(path: Path) -> dict[str, Any]:
    """Content of a cache file that may be absent. A damaged cache is empty: it is only a memo."""
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        return {}
    return loaded if isinstance(loaded, dict) else {}
