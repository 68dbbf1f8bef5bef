"""Instance maps of a written micro world: which object each pixel shows.

Apart from the writer, so that who only reads them does not depend on how rooms are rendered.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from threedrs_components.scenes.frames import UnreadableImage, read_gray
from threedrs_platform.errors import SceneError
from threedrs_platform.records import UInt8


@dataclass(frozen=True)
class Instances:
    """Which object each pixel shows, and what the objects are. K objects."""

    maps: UInt8
    """[F, H, W]: 0 = room, else 1 + index into the tuples"""
    categories: tuple[str, ...]
    colors: tuple[str, ...]


def read_instances(scene_dir: Path) -> Instances:
    """Read the instance maps of a training scene (other splits have none)."""
    scene_id = scene_dir.name
    paths = sorted(scene_dir.glob("frame-*.instance.png"))
    if not paths:
        raise SceneError(scene_id, "has no instance maps; only training scenes do", scene_dir)
    try:
        maps = np.stack([read_gray(path) for path in paths])
        content = json.loads((scene_dir / "boxes.json").read_text())
        return Instances(maps, tuple(content["categories"]), tuple(content["colors"]))
    except (UnreadableImage, OSError, KeyError, ValueError) as error:
        raise SceneError(scene_id, f"instances cannot be read: {error!r}", scene_dir) from error
