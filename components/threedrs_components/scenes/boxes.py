"""Boxes on disk: one `boxes.json` per scene folder, and lists of boxes for many scenes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from threedrs_platform.errors import DataError, SceneError
from threedrs_platform.records import Boxes, Float32

SCENE_PREFIX = "scannet/"
"""Box lists key a scene as "scannet/<scene id>", as the released files do."""


def read_scene_boxes(scene_id: str, path: Path) -> tuple[Boxes, Float32]:
    """Read `boxes.json`: the objects, and the axis alignment (identity if the file has none)."""
    try:
        content = json.loads(path.read_text())
        objects = Boxes(
            object_ids=tuple(int(value) for value in content["object_ids"]),
            labels=tuple(str(value) for value in content["labels"]),
            boxes=box_array(content["boxes"]),
        )
        alignment = np.asarray(content.get("axis_alignment", np.eye(4)), dtype=np.float32)
    except (OSError, KeyError, TypeError, ValueError, AssertionError) as error:
        raise SceneError(
            scene_id,
            "boxes.json needs object_ids, labels and boxes of one length, each box "
            f"[x, y, z, size x, size y, size z] in metres: {type(error).__name__}: {error}",
            path,
        ) from error
    if alignment.shape != (4, 4) or not np.isfinite(alignment).all():
        raise SceneError(scene_id, "axis_alignment must be a finite 4x4 matrix", path)
    return objects, alignment


def write_scene_boxes(path: Path, objects: Boxes, **extra: Any) -> None:
    """Write `boxes.json`; extra keys are kept in the file and ignored by the reader."""
    content = {
        "object_ids": list(objects.object_ids),
        "labels": list(objects.labels),
        "boxes": rounded(objects.boxes),
        **extra,
    }
    path.write_text(json.dumps(content) + "\n")


def read_box_lists(path: Path) -> dict[str, Float32]:
    """Read {"scannet/<scene>": [[6], ...]} into {scene: [Q, 6]}; position in the list = id."""
    try:
        content = json.loads(path.read_text())
        return {
            str(key).removeprefix(SCENE_PREFIX): box_array(boxes) for key, boxes in content.items()
        }
    except (OSError, AttributeError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a file of box lists per scene: {error}") from error


def write_box_lists(path: Path, lists: dict[str, Float32]) -> None:
    """Write {scene: [Q, 6]} in the form `read_box_lists` reads."""
    content = {SCENE_PREFIX + scene: rounded(lists[scene]) for scene in sorted(lists)}
    path.write_text(json.dumps(content) + "\n")


def box_array(boxes: Any) -> Float32:
    """Lists of six finite numbers with non-negative sizes, as [K, 6] float32."""
    array = np.asarray(boxes, dtype=np.float32)
    if array.size == 0:
        return np.zeros((0, 6), dtype=np.float32)
    if array.ndim != 2 or array.shape[1] != 6:
        raise ValueError(f"boxes must have six numbers each, got shape {array.shape}")
    if not np.isfinite(array).all() or (array[:, 3:] < 0).any():
        raise ValueError("boxes must be finite with non-negative sizes")
    return array


def rounded(boxes: Float32) -> list[list[float]]:
    """Boxes as lists, rounded to a tenth of a millimetre."""
    return [[round(float(value), 4) for value in box] for box in boxes]
