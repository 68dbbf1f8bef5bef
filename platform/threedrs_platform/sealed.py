"""Files of unfinished work: written whole, with a seal of size and sha256, and checked before use.

The seal of the file `NAME` is `.NAME.seal` beside it; that of a folder is `.seal` inside it. What
is sealed is never changed in place, so that it may be linked into another folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from threedrs_platform.errors import StepFailed
from threedrs_platform.storage import storage_errors, write_atomically

SEAL = ".seal"
KEPT = 2
"""Versions of a state that goes on changing: the newest, and the one to fall back to."""
Warn = Callable[[str], None]


def write_sealed(path: Path, write: Callable[[Path], object]) -> None:
    """Replace a file by what `write` puts into the temporary file that it is given.

    The seal comes first: killed in between, the old file does not fit it and is made again.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with storage_errors(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(partial)
            _write_seal(_seal_of(path), _digest(partial, sync=True))
            os.replace(partial, path)
            _sync(path.parent)
        finally:
            partial.unlink(missing_ok=True)


def seal_folder(folder: Path) -> None:
    """Seal all files of a folder, which is renamed to its final name afterwards."""
    with storage_errors(f"write {folder}"), ThreadPoolExecutor(os.cpu_count()) as threads:
        files = _files(folder)
        digests = threads.map(lambda path: _digest(path, sync=True), files.values())
        _write_seal(folder / SEAL, dict(zip(files, digests, strict=True)))


def is_sound(path: Path) -> bool:
    """Whether a file or folder is there, and is what was sealed."""
    if not path.exists():
        return False
    sealed = _read_seal(_seal_of(path))
    if not path.is_dir():
        return sealed == _digest(path)
    files = _files(path)
    if sealed is None or sealed.keys() != files.keys():
        return False
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return [*threads.map(_digest, files.values())] == [sealed[name] for name in files]


def keep_sound(path: Path, warn: Warn) -> bool:
    """Whether there is something sound to go on from; what is damaged is removed, and told."""
    if is_sound(path):
        return True
    if path.exists():
        warn(f"{path.name}: damaged since it was written, or cut short; it is made again")
        _remove(path)
    return False


def drop_contradicted(path: Path, warn: Warn) -> None:
    """Remove a file that is not what its seal says; one that never had a seal stays."""
    if _seal_of(path).exists():
        keep_sound(path, warn)


def require_sound(path: Path) -> None:
    """Refuse to publish what has changed since it was written.

    Raises:
        StepFailed: a further attempt makes it again.
    """
    if not is_sound(path):
        raise StepFailed(f"{path}: changed on the disk since it was written", "infra")


def numbered(folder: Path, stem: str, step: int) -> Path:
    """Where the state after a step lies."""
    return folder / f"{stem}-{step:07d}"


def states(folder: Path, stem: str) -> list[Path]:
    """All numbered states, the newest first; their soundness is not looked at."""
    if not folder.is_dir():
        return []
    name = re.compile(rf"{re.escape(stem)}-\d{{7}}")
    found = [path for path in folder.iterdir() if name.fullmatch(path.name)]
    return sorted(found, key=lambda path: path.name, reverse=True)


def newest_sound(folder: Path, stem: str, warn: Warn) -> Path | None:
    """The newest state that is as it was written; damaged ones before it are removed, and told."""
    return next((path for path in states(folder, stem) if keep_sound(path, warn)), None)


def forget_older(folder: Path, stem: str) -> None:
    """Keep the newest state and the one before."""
    for path in states(folder, stem)[KEPT:]:
        _remove(path)


def take_over(earlier: Path, own: Path) -> None:
    """Link what is sealed in a folder, and not yet in `own`, into it. Whoever uses it checks it.

    Another process may still write there, and remove: what vanishes is left out.
    """
    seals = [Path(at, n) for at, _, names in os.walk(earlier) for n in names if n.endswith(SEAL)]
    for seal in sorted(seals):
        source = seal.parent if seal.name == SEAL else seal.with_name(seal.name[1 : -len(SEAL)])
        target = own / source.relative_to(earlier)
        if target.exists() or not source.exists():
            continue
        try:
            if source.is_dir():
                for name, path in _files(source).items():
                    _link(path, target / name)
            else:
                _link(source, target)
            _link(seal, _seal_of(target))
        except FileNotFoundError:
            _remove(target)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def _remove(path: Path) -> None:
    _seal_of(path).unlink(missing_ok=True)
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _seal_of(path: Path) -> Path:
    return path / SEAL if path.is_dir() else path.with_name(f".{path.name}{SEAL}")


def _files(folder: Path) -> dict[str, Path]:
    """All files but the seal, by their names in the folder."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / SEAL
    }


def _digest(path: Path, sync: bool = False) -> dict[str, Any]:
    with path.open("rb") as file:
        if sync:
            os.fsync(file.fileno())
        found = hashlib.file_digest(file, "sha256").hexdigest()
        return {"sha256": found, "size": file.tell()}


def _write_seal(seal: Path, content: dict[str, Any]) -> None:
    write_atomically(seal, json.dumps(content).encode())


def _read_seal(seal: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(seal.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _sync(folder: Path) -> None:
    """Make a rename outlast a loss of power, where the file system can."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
