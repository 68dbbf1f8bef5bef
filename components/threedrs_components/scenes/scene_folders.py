"""Folders of posed RGB-D scenes, told by the names of their files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from threedrs_components.scenes.folder_styles import find_style


def scene_folders(root: Path) -> list[Path]:
    """Folders of scenes: this one, those in its folder `scenes`, or those in it; maybe none."""
    if find_style(root) is not None:
        return [root]
    for parent in (root / "scenes", root):
        if found := [path for path in _folders(parent) if find_style(path) is not None]:
            return found
    return []


def _folders(parent: Path) -> Iterator[Path]:
    if parent.is_dir():
        yield from sorted(path for path in parent.iterdir() if path.is_dir())
