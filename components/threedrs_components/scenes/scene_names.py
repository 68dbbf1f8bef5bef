"""What may name a scene: one folder or file, and nothing that leads out of where it lies."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_SCENE_ID = re.compile(rf"{_NAME.pattern}(?:\.{_NAME.pattern})*")
RULE = "letters, digits, _ and -, the last not in front"
"""Of a name, for messages."""


def is_name(text: str) -> bool:
    """Whether it may name a data set, or a scene within one."""
    return _NAME.fullmatch(text) is not None


def is_scene_id(text: str) -> bool:
    """Whether it may name a scene among those of all data sets: names with single dots between."""
    return _SCENE_ID.fullmatch(text) is not None


def inside(root: Path, name: str) -> Path:
    """A path under a folder, as data name it.

    Raises:
        ValueError: it leads out of the folder.
    """
    relative = PurePosixPath(name)
    if not name or relative.is_absolute() or ".." in relative.parts or "\0" in name:
        raise ValueError(f"{name!r} leads out of its folder")
    return root / relative


def one_inside(root: Path, name: str) -> Path:
    """As `inside`, right below the folder.

    Raises:
        ValueError: it leads out of the folder, or deeper.
    """
    path = inside(root, name)
    if path.name != name:
        raise ValueError(f"{name!r} names no file or folder of a scene")
    return path
