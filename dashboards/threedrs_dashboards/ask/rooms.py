"""Scene folders below the root that the server was given: looked up by name, never by a path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from threedrs_components.scenes.folder_styles import find_style
from threedrs_dashboards.viewer.missing import Missing
from threedrs_platform.config.suggestions import did_you_mean

MOST_ROOMS, DEEPEST = 500, 2
"""Folders that are looked into, and how far below the root."""


def list_rooms(root: Path | None) -> dict[str, Path]:
    """Folders of posed RGB-D frames by their names below the root; a link that leads out is none.

    Args:
        root: None where the server was given none.
    """
    if root is None or not root.is_dir():
        return {}
    top, rooms = root.resolve(), dict[str, Path]()
    for folder in _folders(top, DEEPEST):
        if len(rooms) >= MOST_ROOMS:
            break
        if folder.resolve().is_relative_to(top) and find_style(folder) is not None:
            rooms[folder.relative_to(top).as_posix()] = folder
    return dict(sorted(rooms.items()))


def room_folder(root: Path | None, name: str) -> Path:
    """The folder of this name.

    Raises:
        Missing: there is none.
    """
    rooms = list_rooms(root)
    if name not in rooms:
        if root is None:
            raise Missing("this server was given no folder of rooms: `workflows ui --rooms DIR`")
        guess = did_you_mean(name, rooms)
        raise Missing(f"no scene folder {name!r} below the folder of this server{guess}")
    return rooms[name]


def _folders(top: Path, depth: int) -> Iterator[Path]:
    """The folder and those below it, breadth first."""
    level = [top]
    for _ in range(depth + 1):
        yield from level
        level = [
            each
            for folder in level
            for each in sorted(folder.iterdir())
            if each.is_dir() and not each.name.startswith(".")
        ][: 4 * MOST_ROOMS]
