"""Boxes in files: what a valid one is, and where those of objects and proposals come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from threedrs_components.benchmarks.annotations import (
    Box,
    FiniteBox,
    Record,
    bare_scene,
    read_json,
)
from threedrs_components.metrics.iou import CornerBox
from threedrs_platform.errors import AnnotationError


class _SceneBoxes(Record):
    object_ids: list[int]
    boxes: list[FiniteBox]


def parse_box_lists(values: Any, file: Path | str) -> dict[str, tuple[Box, ...]]:
    """A JSON object scene -> list of 6-vectors, scene names with or without "scannet/".

    Raises:
        AnnotationError: names the scene and the box that is not six finite numbers.
    """
    try:
        lists = TypeAdapter(dict[str, list[FiniteBox]]).validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        scene, *rest = [str(part) for part in first["loc"]] or ["-"]
        name = "box " + ".".join(rest) if rest else "file"
        reason = f"{first['msg']}; a box is six finite numbers, centre x y z and size x y z"
        raise AnnotationError(file, scene, name, reason) from error
    bare: dict[str, tuple[Box, ...]] = {}
    for scene, boxes in lists.items():
        if bare_scene(scene) in bare:
            reason = 'occurs twice, with and without "scannet/"; give each scene once'
            raise AnnotationError(file, scene, "scene", reason)
        bare[bare_scene(scene)] = tuple(boxes)
    return bare


def read_box_lists(path: Path) -> dict[str, tuple[Box, ...]]:
    """Read a file in the form of `scannet_val_pred_box.json` or `scannet_train_gt_box.json`."""
    return parse_box_lists(read_json(path), path)


@dataclass(frozen=True)
class ObjectBoxes:
    """Boxes of annotated objects by scene and object id.

    From one file scene -> list (position = object id) where `lists` is given, else from
    `scenes/<scene>/boxes.json`, read when first asked for.
    """

    scenes: Path | None = None
    lists: Mapping[str, tuple[Box, ...]] | None = None
    source: Path | str = "boxes"
    _read: dict[str, dict[int, Box]] = field(default_factory=dict, compare=False, repr=False)

    def scene(self, scene_id: str) -> dict[int, Box] | None:
        """All boxes of a scene by object id; None for a scene without boxes."""
        if scene_id not in self._read:
            boxes = self._load(scene_id)
            if boxes is None:
                return None
            self._read[scene_id] = boxes
        return self._read[scene_id]

    def _load(self, scene_id: str) -> dict[int, Box] | None:
        if self.lists is not None:
            boxes = self.lists.get(scene_id)
            return None if boxes is None else dict(enumerate(boxes))
        if self.scenes is None:
            return None
        path = self.scenes / scene_id / "boxes.json"
        if not path.is_file():
            return None
        try:
            parsed = _SceneBoxes.model_validate(read_json(path))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise AnnotationError(path, scene_id, place or "file", first["msg"]) from error
        if len(parsed.object_ids) != len(parsed.boxes):
            reason = f"{len(parsed.object_ids)} object_ids but {len(parsed.boxes)} boxes"
            raise AnnotationError(path, scene_id, "object_ids", reason)
        return dict(zip(parsed.object_ids, parsed.boxes, strict=True))

    def of(self, scene_id: str, object_id: int, file: Path | str, record: int) -> Box:
        """The box of one object that an annotation record names.

        Raises:
            AnnotationError: the scene or the object is unknown.
        """
        boxes = self.scene(scene_id)
        if boxes is None:
            place = self.scenes or self.source
            raise AnnotationError(
                file, record, "scene_id", f"unknown scene {scene_id!r}: no boxes in {place}"
            )
        if object_id not in boxes:
            known = f"objects 0..{max(boxes)}" if boxes else "no object"
            reason = f"scene {scene_id} has no object {object_id}; its boxes hold {known}"
            raise AnnotationError(file, record, "object_id", reason)
        return boxes[object_id]


def target_box(
    corners: Sequence[Sequence[float]] | None,
    objects: ObjectBoxes | None,
    scene_id: str,
    object_id: int,
    file: Path | str,
    record: int,
) -> Box:
    """The true box of a record: its own corners, else by scene and object id.

    Raises:
        AnnotationError: neither is there.
    """
    if corners:
        return CornerBox.around(corners)
    if objects is None:
        reason = (
            "the record has no box and no file of boxes is given; add one in the form of "
            "scannet_train_gt_box.json (scene: list of boxes by object id)"
        )
        raise AnnotationError(file, record, "bbox", reason)
    return objects.of(scene_id, object_id, file, record)
