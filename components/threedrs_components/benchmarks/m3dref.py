"""Prediction files of M3DRef-CLIP: lists of boxes by scene, for ScanRefer and Multi3DRefer."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

from threedrs_components.benchmarks.annotations import (
    Corners,
    Identifier,
    Record,
    parse_records,
)
from threedrs_components.benchmarks.evaluator_format import (
    EvaluatorFormat,
    PredictionFile,
    by_scene,
)
from threedrs_components.metrics.iou import CornerBox
from threedrs_platform.records import Prediction


class M3DRefItem(Record):
    """All boxes that one description means."""

    ann_id: Identifier
    aabb: list[Corners]

    @abstractmethod
    def name(self, kind: str, scene: str) -> str:
        """What predictions call the description: its sample's id or alias."""


def m3dref_format(item: type[M3DRefItem]) -> EvaluatorFormat:
    """The format for a benchmark whose descriptions are named as `item` names them."""

    def read(values: Any, path: Path, kind: str) -> PredictionFile:
        predictions = []
        # A list alone is one scene's file, named after the scene.
        scenes = {path.stem: values} if isinstance(values, list) else values
        for scene, records in by_scene(scenes, path):
            for each in parse_records(records, item, f"{path}: {scene}"):
                boxes = tuple(CornerBox.around(box) for box in each.aabb)
                predictions.append(Prediction(each.name(kind, scene), boxes=boxes))
        return PredictionFile("m3dref", predictions)

    return EvaluatorFormat("m3dref", item, read, by_scene=True)
