"""Prediction files of the field's evaluators, recognised by their shape.

own        JSON Lines: `id` with `text`, `boxes`, `boxes` and `scores`, or `texts`
3drs       JSON Lines of 3DRS, with the truth: `sample_id`, `pred_response` or `scores` ..
scanrefer  list of `scene_id`, `object_id`, `ann_id`, `bbox` (corners), maybe two flags
m3dref     folder of `<scene>.json`, or {scene: list} of `ann_id`, `aabb` (boxes of corners)
scan2cap   {scene: list} of `caption`, `box` (corners)
scanqa     list of `question_id`, `answer_top10`
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from threedrs_components.benchmarks.annotations import (
    Identifier,
    Record,
    SceneId,
    bare_scene,
    parse_records,
    read_json,
    read_lines,
)
from threedrs_components.benchmarks.boxes import Corners, hull
from threedrs_components.benchmarks.prediction_files import parse_predictions
from threedrs_components.benchmarks.threedrs_lines import read_threedrs_lines
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import AnnotationError, ConfigError, Fault
from threedrs_platform.records import Prediction, Sample


@dataclass(frozen=True)
class PredictionFile:
    """What a prediction file holds."""

    format: str
    predictions: list[Prediction]
    samples: list[Sample] | None = None
    """The annotated samples, where the format carries its own truth."""
    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What the file says about samples, by prediction id."""
    warnings: tuple[str, ...] = ()


class _ScanReferItem(Record):
    scene_id: SceneId
    object_id: int
    ann_id: Identifier
    bbox: Corners
    unique_multiple: int | None = Field(default=None, ge=0, le=1)
    others: int | None = Field(default=None, ge=0, le=1)


class _M3DRefItem(Record):
    ann_id: Identifier
    object_id: int | None = None
    aabb: list[Corners]


class _Scan2CapItem(Record):
    caption: str
    box: Corners


class _ScanQAItem(Record):
    question_id: Identifier
    answer_top10: list[str] = Field(min_length=1)


def read_prediction_file(path: Path, benchmark: str, format_name: str | None) -> PredictionFile:
    """Read predictions in a named format, or in the one their shape shows.

    Raises:
        AnnotationError: unreadable, of no known shape, or faulty; names file, record and field.
        ConfigError: there is no format of this name.
    """
    if format_name is not None and format_name not in FORMATS:
        fault = Fault(f"unknown format {format_name!r}{did_you_mean(format_name, FORMATS)}")
        raise ConfigError([fault])
    values = _read_folder(path) if os.path.isdir(path) else _read_values(path)
    return FORMATS[format_name or _recognise(values, path)](values, path, benchmark)


def _read_folder(path: Path) -> dict[str, Any]:
    files = sorted(path.glob("*.json"))
    if not files:
        reason = "holds no <scene>.json; a folder of predictions has one file per scene"
        raise AnnotationError(path, "-", "file", reason)
    return {file.stem: read_json(file) for file in files}


def _read_values(path: Path) -> Any:
    """One JSON value, or the list of the values of a JSON Lines file."""
    if path.suffix == ".jsonl":
        return read_lines(path)
    try:
        return read_json(path)
    except AnnotationError as error:
        if isinstance(error.__cause__, json.JSONDecodeError) and error.reason == "Extra data":
            return read_lines(path)
        raise


def _recognise(values: Any, path: Path) -> str:
    items = values if isinstance(values, list) else [values]
    if not items or values == {}:
        raise AnnotationError(path, "-", "file", "is empty; it holds no prediction")
    first = items[0]
    if isinstance(values, dict) and values and "id" not in values and "sample_id" not in values:
        rows = next((item for item in values.values() if item), None)
        first = rows[0] if isinstance(rows, list) else None
        if isinstance(first, dict):
            found = {"aabb": "m3dref", "caption": "scan2cap"}
            for key, name in found.items():
                if key in first:
                    return name
    elif isinstance(first, dict):
        for key, name in _LIST_KEYS.items():
            if key in first:
                return name
    seen = ", ".join(sorted(map(str, first))) if isinstance(first, dict) else type(first).__name__
    reason = (
        f"has no known shape (first record: {seen}); known formats are {', '.join(FORMATS)}, "
        "and our own is one JSON object per line with id and text, boxes, or boxes and scores"
    )
    raise AnnotationError(path, 0, "format", reason)


_LIST_KEYS = {
    "sample_id": "3drs",
    "answer_top10": "scanqa",
    "aabb": "m3dref",
    "bbox": "scanrefer",
    "id": "own",
}


def _own(values: Any, path: Path, benchmark: str) -> PredictionFile:
    items = values if isinstance(values, list) else [values]
    return PredictionFile("own", parse_predictions(items, path))


def _threedrs(values: Any, path: Path, benchmark: str) -> PredictionFile:
    items = values if isinstance(values, list) else [values]
    lines = read_threedrs_lines(items, path, benchmark)
    return PredictionFile("3drs", lines.predictions, lines.samples, warnings=lines.warnings)


def _scanrefer(values: Any, path: Path, benchmark: str) -> PredictionFile:
    _only_for(("scanrefer",), "scanrefer", benchmark, path)
    predictions, tags = [], {}
    for item in parse_records(values, _ScanReferItem, path):
        name = f"scanrefer_{item.scene_id}_{item.object_id}_{item.ann_id}"
        predictions.append(Prediction(name, boxes=(hull(item.bbox),)))
        flags = {}
        if item.unique_multiple is not None:
            flags["official_type"] = ("unique", "multiple")[item.unique_multiple]
        if item.others is not None:
            flags["official_others"] = str(bool(item.others))
        tags[name] = flags
    return PredictionFile("scanrefer", predictions, tags=tags)


def _m3dref(values: Any, path: Path, benchmark: str) -> PredictionFile:
    """A list alone is one scene's file, named after the scene."""
    _only_for(("scanrefer", "multi3drefer"), "m3dref", benchmark, path)
    predictions = []
    for scene, items in _by_scene(
        {path.stem: values} if isinstance(values, list) else values, path
    ):
        for index, item in enumerate(parse_records(items, _M3DRefItem, f"{path}: {scene}")):
            if benchmark == "multi3drefer":
                name = f"multi3drefer_{scene}_{item.ann_id}"
            elif item.object_id is None:
                reason = "is missing; ScanRefer predictions name their object"
                raise AnnotationError(f"{path}: {scene}", index, "object_id", reason)
            else:
                name = f"scanrefer_{scene}_{item.object_id}_{item.ann_id}"
            predictions.append(Prediction(name, boxes=tuple(hull(box) for box in item.aabb)))
    return PredictionFile("m3dref", predictions)


def _scan2cap(values: Any, path: Path, benchmark: str) -> PredictionFile:
    _only_for(("scan2cap",), "scan2cap", benchmark, path)
    predictions = []
    for scene, items in _by_scene(values, path):
        records = parse_records(items, _Scan2CapItem, f"{path}: {scene}")
        boxes = tuple(hull(record.box) for record in records)
        texts = tuple(record.caption for record in records)
        predictions.append(Prediction(scene, boxes=boxes, texts=texts))
    return PredictionFile("scan2cap", predictions)


def _scanqa(values: Any, path: Path, benchmark: str) -> PredictionFile:
    _only_for(("scanqa",), "scanqa", benchmark, path)
    return PredictionFile(
        "scanqa",
        [
            Prediction(item.question_id, texts=tuple(item.answer_top10))
            for item in parse_records(values, _ScanQAItem, path)
        ],
    )


def _by_scene(values: Any, path: Path) -> list[tuple[str, Any]]:
    if not isinstance(values, dict):
        reason = f"holds a {type(values).__name__}, an object {{scene: list}} is expected"
        raise AnnotationError(path, "-", "file", reason)
    return [(bare_scene(scene), items) for scene, items in values.items() if items != []]


def _only_for(benchmarks: tuple[str, ...], name: str, benchmark: str, path: Path) -> None:
    if benchmark not in benchmarks:
        reason = f"these are {' or '.join(benchmarks)} predictions (format {name}), not {benchmark}"
        raise AnnotationError(path, "-", "format", reason)


FORMATS: dict[str, Callable[[Any, Path, str], PredictionFile]] = {
    "own": _own,
    "3drs": _threedrs,
    "scanrefer": _scanrefer,
    "m3dref": _m3dref,
    "scan2cap": _scan2cap,
    "scanqa": _scanqa,
}
"""Name to reader of parsed values."""
