"""Reading prediction files made anywhere: in our own format, or in one that a benchmark knows.

own        JSON Lines: `id` with `text`, `boxes`, `boxes` and `scores`, or `texts`
others     what the evaluators of the field read and write; each benchmark lists those it knows
texts      sample logs of lmms-eval, COCO result lists, {id: text}
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from threedrs_components.benchmarks.benchmark import Benchmark
from threedrs_components.benchmarks.evaluator_format import EvaluatorFormat, PredictionFile
from threedrs_components.benchmarks.prediction_files import PredictionLine, parse_predictions
from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.benchmarks.text_results import TEXT_FORMATS, text_format
from threedrs_components.json_files import read_json, read_lines
from threedrs_components.record_files import read_table
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import AnnotationError, ConfigError, Fault


def _read_own(values: Any, path: Path, kind: str) -> PredictionFile:
    items = values if isinstance(values, list) else [values]
    return PredictionFile("own", parse_predictions(items, path))


OWN = EvaluatorFormat("own", PredictionLine, _read_own)
_ALL = (*(each for kind in BENCHMARKS.values() for each in kind.formats), OWN)
FORMATS = tuple(dict.fromkeys((OWN.name, *(each.name for each in (*_ALL, *TEXT_FORMATS)))))
"""Names of all formats; one name may stand for the files of several benchmarks."""


def read_prediction_file(
    path: Path, benchmark: Benchmark, format_name: str | None = None
) -> PredictionFile:
    """Read predictions in a named format, or in the one their shape shows.

    Raises:
        AnnotationError: unreadable, of no known shape, or faulty; names file, record and field.
        ConfigError: there is no format of this name.
    """
    if format_name is not None and format_name not in FORMATS:
        fault = Fault(f"unknown format {format_name!r}{did_you_mean(format_name, FORMATS)}")
        raise ConfigError([fault])
    values = _read_folder(path) if os.path.isdir(path) else _read_values(path)
    name = format_name or text_format(values) or _recognise(values, path)
    for known in (*benchmark.formats, OWN, *TEXT_FORMATS):
        if known.name == name:
            return known.read(values, path, benchmark.kind)
    owners = [
        each
        for each, kind in BENCHMARKS.items()
        if any(known.name == name for known in kind.formats)
    ]
    listed = " or ".join(owners)
    reason = f"these are {listed} predictions (format {name}), not {benchmark.kind}"
    raise AnnotationError(path, "-", "format", reason)


def _read_folder(path: Path) -> dict[str, Any]:
    files = sorted(path.glob("*.json"))
    if not files:
        reason = "holds no <scene>.json; a folder of predictions has one file per scene"
        raise AnnotationError(path, "-", "file", reason)
    return {file.stem: read_json(file) for file in files}


def _read_values(path: Path) -> Any:
    """One JSON value, or the list of the values of a JSON Lines file."""
    if path.suffix in (".jsonl", ".parquet"):
        return read_table(path)
    try:
        return read_json(path)
    except AnnotationError as error:
        if isinstance(error.__cause__, json.JSONDecodeError) and error.reason == "Extra data":
            return read_lines(path)
        raise


def _recognise(values: Any, path: Path) -> str:
    """The format whose needed keys the first record has; the largest share of them wins."""
    if values in ([], {}):
        raise AnnotationError(path, "-", "file", "is empty; it holds no prediction")
    first, candidates = (values[0] if isinstance(values, list) else values), _ALL
    for rows in values.values() if isinstance(values, dict) else ():
        if isinstance(rows, list) and rows and isinstance(rows[0], dict):
            first, candidates = rows[0], tuple(each for each in _ALL if each.by_scene)
            break
    if isinstance(first, dict):
        best = max(candidates, key=lambda each: each.likeness(first))
        if best.likeness(first):
            return best.name
    seen = ", ".join(sorted(map(str, first))) if isinstance(first, dict) else type(first).__name__
    reason = (
        f"has no known shape (first record: {seen}); known formats are {', '.join(FORMATS)}, "
        "and our own is one JSON object per line with id and text, boxes, or boxes and scores"
    )
    raise AnnotationError(path, 0, "format", reason)
