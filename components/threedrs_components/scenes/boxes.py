"""Boxes on disk: one `boxes.json` per scene folder, and lists of boxes for many scenes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threedrs_components.json_files import read_json
from threedrs_platform.errors import AnnotationError, SceneError
from threedrs_platform.records import Boxes, Float32

Float64 = NDArray[np.float64]

SCENE_PREFIX = "scannet/"
"""Box lists key a scene as "scannet/<scene id>", as the released files do."""
FARTHEST_M = 1e6
"""No coordinate or size of a room's box is larger; anything else would overflow in float32."""
_OBJECT_ID = re.compile(r"[0-9]{1,9}")


def read_scene_boxes(scene_id: str, path: Path) -> tuple[Boxes, Float32]:
    """Read `boxes.json`: the objects, and the axis alignment (identity if the file has none)."""
    try:
        content = read_json(path)
        objects = Boxes(
            object_ids=tuple(int(value) for value in content["object_ids"]),
            labels=tuple(str(value) for value in content["labels"]),
            boxes=_box_array(content["boxes"]),
        )
        _refuse_twice(objects.object_ids)
        alignment = np.asarray(content.get("axis_alignment", np.eye(4)), dtype=np.float32)
    except (
        AnnotationError,
        KeyError,
        TypeError,
        ArithmeticError,
        ValueError,
        AssertionError,
    ) as error:
        raise SceneError(
            scene_id,
            "boxes.json needs object_ids, labels and boxes of one length, each box "
            f"[x, y, z, size x, size y, size z] in metres: {type(error).__name__}: {error}",
            path,
        ) from error
    if alignment.shape != (4, 4) or not np.isfinite(alignment).all():
        raise SceneError(scene_id, "axis_alignment must be a finite 4x4 matrix", path)
    return objects, alignment


def write_scene_boxes(
    path: Path, objects: Boxes, *, digits: int | None = None, **extra: Any
) -> None:
    """Write `boxes.json`; extra keys are kept in the file and ignored by the reader.

    Args:
        path: of the file.
        objects: of the scene.
        digits: behind the point of a metre; all there are if None.
        extra: values of other keys.
    """
    content = {
        "object_ids": list(objects.object_ids),
        "labels": list(objects.labels),
        "boxes": _as_lists(objects.boxes, digits),
        **extra,
    }
    path.write_text(json.dumps(content) + "\n")


@dataclass(frozen=True)
class SceneBoxes:
    """Boxes of one scene in a file of many scenes."""

    ids: tuple[int, ...]
    """As the file names them: the place in a list, or the key of an object."""
    exact: Float64
    """[K, 6] centre and size in metres, to the last bit as in the file"""

    @property
    def boxes(self) -> Float32:
        """[K, 6] as scenes keep them."""
        return self.exact.astype(np.float32)


def read_box_lists(*paths: Path) -> dict[str, SceneBoxes]:
    """Read {"scannet/<scene>": [box, ...]} or {"scannet/<scene>": {id: box}}, one file or several.

    A box is six numbers, centre x y z and size x y z; the prefix may be missing.

    Raises:
        AnnotationError: a file is unreadable or of another form; names file, scene and box. Or a
            scene is given twice in a file, or in two files with different boxes.
    """
    found: dict[str, SceneBoxes] = {}
    places: dict[str, Path] = {}
    for path in paths:
        for scene, boxes in parse_box_lists(read_json(path), path).items():
            first = found.setdefault(scene, boxes)
            if first.ids != boxes.ids or not np.array_equal(first.exact, boxes.exact):
                reason = f"has other boxes in {places[scene]}; keep one of the two"
                raise AnnotationError(path, scene, "scene", reason)
            places.setdefault(scene, path)
    return found


def read_candidates(*paths: Path) -> dict[str, Float32]:
    """Boxes [Q, 6] of each scene in the order of their files, whatever their ids.

    Raises:
        AnnotationError: as `read_box_lists`.
    """
    return {scene: found.boxes for scene, found in read_box_lists(*paths).items()}


def parse_box_lists(values: Any, file: Path | str) -> dict[str, SceneBoxes]:
    """The boxes in the JSON value of one file.

    Raises:
        AnnotationError: as `read_box_lists`.
    """
    if not isinstance(values, dict):
        reason = f"holds a {type(values).__name__}; an object with boxes by scene is expected"
        raise AnnotationError(file, "-", "file", reason)
    found: dict[str, SceneBoxes] = {}
    for key, boxes in values.items():
        scene = key.removeprefix(SCENE_PREFIX)
        if scene in found:
            reason = 'occurs twice, with and without "scannet/"; give each scene once'
            raise AnnotationError(file, key, "scene", reason)
        found[scene] = _scene_boxes(boxes, key, file)
    return found


def _scene_boxes(given: Any, scene: str, file: Path | str) -> SceneBoxes:
    if not isinstance(given, (list, dict)):
        reason = f"is a {type(given).__name__}; a list of boxes, or boxes by object id, is expected"
        raise AnnotationError(file, scene, "boxes", reason)
    named = given.items() if isinstance(given, dict) else enumerate(given)
    boxes: dict[int, Any] = {}
    for key, box in named:
        fault = _fault(box)
        name = str(key)
        if not fault and not _OBJECT_ID.fullmatch(name):
            fault = "objects are named by whole numbers"
        if not fault and int(name) in boxes:
            fault = "this object is given twice"
        if fault:
            raise AnnotationError(file, scene, f"box {key}", fault)
        boxes[int(name)] = box
    return SceneBoxes(tuple(boxes), np.array(list(boxes.values()), dtype=np.float64).reshape(-1, 6))


def _fault(box: Any) -> str:
    """What is wrong with six numbers; empty if nothing."""
    numbers = isinstance(box, list) and len(box) == 6 and {*map(type, box)} <= {int, float}
    if not numbers or not all(abs(value) <= FARTHEST_M for value in box):
        return "a box is six finite numbers, centre x y z and size x y z in metres"
    if min(box[3:]) < 0:
        return "has a negative size; a box is centre x y z and size x y z in metres"
    return ""


def write_exact_boxes(path: Path, lists: Mapping[str, SceneBoxes]) -> None:
    """Write what `read_box_lists` read, to the last bit, for readers of any of its forms."""
    content = {
        SCENE_PREFIX + scene: dict(zip(map(str, boxes.ids), boxes.exact.tolist(), strict=True))
        if boxes.ids != tuple(range(len(boxes.ids)))
        else boxes.exact.tolist()
        for scene, boxes in sorted(lists.items())
    }
    path.write_text(json.dumps(content) + "\n")


def write_box_lists(path: Path, lists: Mapping[str, Float32], *, digits: int | None = None) -> None:
    """Write {scene: [Q, 6]} as `read_box_lists` reads it; digits as in `write_scene_boxes`."""
    content = {SCENE_PREFIX + scene: _as_lists(lists[scene], digits) for scene in sorted(lists)}
    path.write_text(json.dumps(content) + "\n")


def _box_array(boxes: list[Any]) -> Float32:
    for number, box in enumerate(boxes):
        if fault := _fault(box):
            raise ValueError(f"box {number}: {fault}")
    return np.array(boxes, dtype=np.float32).reshape(-1, 6)


def _refuse_twice(object_ids: tuple[int, ...]) -> None:
    twice = next((each for each in object_ids if object_ids.count(each) > 1), None)
    if twice is not None:
        raise ValueError(f"object {twice} is given twice")


def _as_lists(boxes: Float32, digits: int | None) -> list[list[float]]:
    exact: list[list[float]] = boxes.tolist()
    if digits is None:
        return exact
    return [[round(value, digits) for value in box] for box in exact]
