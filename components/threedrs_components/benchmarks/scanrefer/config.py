"""ScanRefer: its halves, its protocols, and the prediction files of its benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from threedrs_components.benchmarks.annotations import (
    Corners,
    Identifier,
    Record,
    SceneId,
    parse_records,
)
from threedrs_components.benchmarks.benchmark import Benchmark
from threedrs_components.benchmarks.evaluator_format import EvaluatorFormat, PredictionFile
from threedrs_components.benchmarks.m3dref import M3DRefItem, m3dref_format
from threedrs_components.benchmarks.scanrefer.description import TYPES
from threedrs_components.benchmarks.scanrefer.loader import ScanReferLoader
from threedrs_components.benchmarks.scanrefer.scorer import ScanReferScorer
from threedrs_components.benchmarks.threedrs_lines import BoxLine, result_lines
from threedrs_components.metrics.iou import CornerBox
from threedrs_platform.records import Prediction


class _ListItem(Record):
    """One prediction in the list that ScanRefer's benchmark takes."""

    scene_id: SceneId
    object_id: int
    ann_id: Identifier
    bbox: Corners
    unique_multiple: int | None = Field(default=None, ge=0, le=1)
    others: int | None = Field(default=None, ge=0, le=1)

    def prediction(self, kind: str) -> Prediction:
        """The box, under the sample's id."""
        name = f"{kind}_{self.scene_id}_{self.object_id}_{self.ann_id}"
        return Prediction(name, boxes=(CornerBox.around(self.bbox),))

    @property
    def tags(self) -> dict[str, str]:
        """What the list itself says of the object's class."""
        tags: dict[str, str] = {}
        if self.unique_multiple is not None:
            tags["official_type"] = TYPES[self.unique_multiple]
        if self.others is not None:
            tags["official_others"] = str(bool(self.others))
        return tags


class _M3DRefItem(M3DRefItem):
    object_id: int

    def name(self, kind: str, scene: str) -> str:
        return f"{kind}_{scene}_{self.object_id}_{self.ann_id}"


def _read_list(values: Any, path: Path, kind: str) -> PredictionFile:
    items = parse_records(values, _ListItem, path)
    predictions = [item.prediction(kind) for item in items]
    tags = {each.sample_id: item.tags for each, item in zip(predictions, items, strict=True)}
    return PredictionFile("scanrefer", predictions, tags=tags, by_rows=True)


class ScanRefer(Benchmark):
    """Find the one object a sentence describes."""

    kind: Literal["scanrefer"] = "scanrefer"
    loader = ScanReferLoader
    scorer = ScanReferScorer
    protocols: ClassVar = {
        "3drs": "IoU in float64; unique/multiple by 20 nyu40 classes; a missing prediction "
        "is a miss",
        "official": "ScanRefer's benchmark: 17 classes and others, means over the predictions "
        "given",
        "m3dref": "M3DRef-CLIP: IoU in float32; otherwise as 3drs",
    }
    takes = ("boxes", "scores")
    one_box = True
    types = TYPES
    formats = (
        result_lines(BoxLine),
        EvaluatorFormat("scanrefer", _ListItem, _read_list),
        m3dref_format(_M3DRefItem),
    )
    uses_label_map = True
