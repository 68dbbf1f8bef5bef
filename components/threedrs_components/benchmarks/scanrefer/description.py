"""The record of ScanRefer's annotation files, which Scan2Cap shares."""

from __future__ import annotations

from typing import Literal, get_args

from threedrs_components.benchmarks.annotations import Corners, Identifier, Record, SceneId

EvalType = Literal["unique", "multiple"]
TYPES: tuple[EvalType, ...] = get_args(EvalType)


class Description(Record):
    """One record of `ScanRefer_filtered_<split>.json`."""

    scene_id: SceneId
    object_id: int
    object_name: str
    ann_id: Identifier
    description: str
    token: list[str] | None = None
    bbox: Corners | None = None
    """The target's eight corners, in `ScanRefer_filtered_<split>_gt_bbox.json`."""
    eval_type: EvalType | None = None
    """Written back by some preprocessing."""
    task: str | None = None
    """Which micro-world task the sentence was made for."""

    @property
    def key(self) -> str:
        """Scene, object and annotation, unique within the split."""
        return f"{self.scene_id}_{self.object_id}_{self.ann_id}"

    @property
    def tags(self) -> dict[str, str]:
        """What other evaluators call the record by."""
        return {
            "object_name": self.object_name,
            "ann_id": self.ann_id,
            **({"task": self.task} if self.task else {}),
        }
