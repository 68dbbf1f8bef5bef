"""What lies at a path: how large it is, how old, and away with it."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path


def is_folder(path: Path) -> bool:
    """Whether it is a folder itself, and no link to one."""
    return path.is_dir() and not path.is_symlink()


def disk_size(path: Path) -> int:
    """Bytes of all files at a path, whatever else lies there; links are not followed."""
    if not is_folder(path):
        return path.lstat().st_size if path.exists() or path.is_symlink() else 0
    return sum(
        os.lstat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(path)
        for name in names
    )


def last_change(path: Path) -> float:
    """When the youngest thing below a path was made or changed, as far as it is still there."""
    youngest = path.lstat().st_mtime
    if is_folder(path):
        for folder, folders, names in os.walk(path):
            for name in [*folders, *names]:
                with contextlib.suppress(FileNotFoundError):
                    youngest = max(youngest, os.lstat(os.path.join(folder, name)).st_mtime)
    return youngest


def delete(path: Path) -> None:
    """Remove a file, a link or a folder with all that lies in it."""
    if is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
