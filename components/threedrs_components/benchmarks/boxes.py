"""Boxes in files: what a valid one is, and where those of objects and proposals come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from threedrs_components.benchmarks.annotations import (
    Box,
    FiniteBox,
    Record,
    refuse_repeats,
)
from threedrs_components.json_files import read_json
from threedrs_components.metrics.iou import CornerBox
from threedrs_components.scenes.boxes import SceneBoxes
from threedrs_platform.errors import AnnotationError


class _SceneBoxes(Record):
    object_ids: list[int]
    boxes: list[FiniteBox]


def boxes_by_id(found: SceneBoxes) -> dict[int, Box]:
    """The boxes of one scene by object id."""
    boxes: list[Box] = [tuple(box) for box in found.exact.tolist()]
    return dict(zip(found.ids, boxes, strict=True))


@dataclass(frozen=True)
class ObjectBoxes:
    """Boxes of annotated objects by scene and object id.

    From files of boxes by scene where `lists` is given, else from `scenes/<scene>/boxes.json`, read
    when first asked for.
    """

    scenes: Path | None = None
    lists: Mapping[str, SceneBoxes] | None = None
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
            found = self.lists.get(scene_id)
            return None if found is None else boxes_by_id(found)
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
        refuse_repeats(map(str, parsed.object_ids), path)
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
