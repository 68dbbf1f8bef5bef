"""Scan2Cap: its halves, its protocols, and the prediction files of its benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from threedrs_components.benchmarks.annotations import Corners, Record, parse_records
from threedrs_components.benchmarks.benchmark import Benchmark
from threedrs_components.benchmarks.evaluator_format import (
    EvaluatorFormat,
    PredictionFile,
    by_scene,
)
from threedrs_components.benchmarks.scan2cap.loader import Scan2CapLoader
from threedrs_components.benchmarks.scan2cap.scorer import Scan2CapScorer
from threedrs_components.benchmarks.threedrs_lines import TextLine, result_lines
from threedrs_components.metrics.iou import CornerBox
from threedrs_platform.records import Prediction


class _Item(Record):
    caption: str
    box: Corners


def _read_captions(values: Any, path: Path, kind: str) -> PredictionFile:
    """One prediction per scene: its boxes, and a text for each."""
    predictions = []
    for scene, items in by_scene(values, path):
        records = parse_records(items, _Item, f"{path}: {scene}")
        boxes = tuple(CornerBox.around(record.box) for record in records)
        texts = tuple(record.caption for record in records)
        predictions.append(Prediction(scene, boxes=boxes, texts=texts))
    return PredictionFile("scan2cap", predictions)


class Scan2Cap(Benchmark):
    """Describe an object of a scene."""

    kind: Literal["scan2cap"] = "scan2cap"
    loader = Scan2CapLoader
    scorer = Scan2CapScorer
    protocols: ClassVar = {
        "3drs": "best box with IoU >= 0.5, else the empty caption; lower case, dots and commas "
        "apart",
        "3drs_as_run": "as 3drs, but an object without prompt box has the references of the last "
        "one that has, as the released runner writes them",
        "scan2cap": "the first evaluator: IoU > t, 30 tokens of each reference, the last box wins",
        "benchmark": "Scan2Cap's benchmark: one-to-one boxes, recall, precision and F1 of captions",
        "leo": "best box with IoU >= 0.5, case kept; objects without any prediction are left out",
        "chat_scene": "best box with IoU >= t, PTB tokens on both sides",
    }
    takes = ("text", "texts", "boxes")
    formats = (
        result_lines(TextLine),
        EvaluatorFormat("scan2cap", _Item, _read_captions, by_scene=True),
    )
