"""Scene folders below the root that the server was given: looked up by name, never by a path."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from threedrs_components.scenes.folder_styles import find_style
from threedrs_dashboards.viewer.missing import Missing
from threedrs_platform.config.suggestions import did_you_mean

MOST_ROOMS, MOST_LOOKED_INTO, DEEPEST = 500, 2000, 2
"""Scenes that are listed, folders that are looked into for them, and how far below the root."""
KEPT_S = 5.0
"""Seconds that a list is shown before folders are looked into again: pages ask every second."""


def list_rooms(root: Path | None) -> Mapping[str, Path]:
    """Folders of posed RGB-D frames by their names below the root; a link that leads out is none.

    What cannot be read is left out. The list may be `KEPT_S` old.

    Args:
        root: None where the server was given none.
    """
    return {} if root is None else _kept(root, int(time.monotonic() / KEPT_S))


def room_folder(root: Path | None, name: str) -> Path:
    """The folder of this name.

    Raises:
        Missing: there is none.
    """
    rooms = list_rooms(root)
    if root is None:
        raise Missing("this server was given no folder of rooms: `workflows ui --rooms DIR`")
    if name not in rooms or not _is_room(rooms[name], root.resolve()):
        rooms = find_rooms(root)
    if name not in rooms:
        guess = did_you_mean(name, rooms)
        raise Missing(f"no scene folder {name!r} below the folder of this server{guess}")
    return rooms[name]


@lru_cache(maxsize=4)
def _kept(root: Path, tick: int) -> Mapping[str, Path]:
    return find_rooms(root)


def find_rooms(root: Path) -> dict[str, Path]:
    """The same as it is now: breadth first, and not into scenes."""
    top, rooms, looked_into = root.resolve(), dict[str, Path](), 0
    level = [top]
    for depth in range(DEEPEST + 1):
        below: list[Path] = []
        for folder in level:
            if len(rooms) >= MOST_ROOMS or looked_into >= MOST_LOOKED_INTO:
                break
            looked_into += 1
            if _is_room(folder, top):
                rooms[folder.relative_to(top).as_posix()] = folder
            elif depth < DEEPEST and _is_inside(folder, top):
                below += _folders(folder)
        level = below
    return dict(sorted(rooms.items()))


def _is_room(folder: Path, top: Path) -> bool:
    try:
        return _is_inside(folder, top) and find_style(folder) is not None
    except OSError:
        return False


def _is_inside(folder: Path, top: Path) -> bool:
    return folder.resolve().is_relative_to(top)


def _folders(folder: Path) -> list[Path]:
    """Those directly below a folder; none of one that cannot be read."""
    try:
        with os.scandir(folder) as entries:
            names = [each.name for each in entries if each.name[0] != "." and each.is_dir()]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]
