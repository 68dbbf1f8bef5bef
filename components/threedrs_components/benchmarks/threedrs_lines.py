"""Result lines of 3DRS and Video-3D-LLM, which carry the truth beside the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from threedrs_components.benchmarks.annotations import (
    Identifier,
    Record,
    Score,
    annotation_error,
    bare_scene,
    refuse_repeats,
)
from threedrs_components.benchmarks.boxes import FiniteBox
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Prediction, Sample


@dataclass(frozen=True)
class ThreedrsLines:
    """Predictions and the samples they belong to, in file order."""

    predictions: list[Prediction]
    samples: list[Sample]
    warnings: tuple[str, ...] = ()


class _Line(Record):
    dataset: str
    sample_id: Identifier = Field(min_length=1)
    question_type: str | None = None
    scene: str = ""


class _Box(_Line):
    pred_response: FiniteBox
    gt_response: FiniteBox


class _Boxes(_Line):
    objects: list[FiniteBox]
    scores: list[Score]
    gt_response: list[FiniteBox]


class _Text(_Line):
    pred_response: str | None
    gt_response: str | list[str]


_SHAPES: dict[str, type[_Line]] = {
    "scanrefer": _Box,
    "multi3drefer": _Boxes,
    "scan2cap": _Text,
    "scanqa": _Text,
    "sqa3d": _Text,
}


def read_threedrs_lines(values: Sequence[Any], path: Path, benchmark: str) -> ThreedrsLines:
    """Predictions with their samples.

    Raises:
        AnnotationError: a faulty line, a line of another data set, or an id twice.
    """
    if benchmark not in _SHAPES:
        reason = f"3DRS writes no result lines for {benchmark}; known: {', '.join(_SHAPES)}"
        raise AnnotationError(path, "-", "format", reason)
    if not values:
        raise AnnotationError(path, "-", "file", "is empty; it holds no prediction")
    lines = [_parse(value, index, path, benchmark) for index, value in enumerate(values)]
    refuse_repeats((line.sample_id for line in lines), path)
    warnings = ["the truth is that of the lines: a sample without line is not seen to be missing"]
    if benchmark == "scanqa" and all(
        isinstance(line, _Text) and isinstance(line.gt_response, str) for line in lines
    ):
        warnings.append(
            "these lines carry one reference per question; give --annotations to score against "
            "all answers"
        )
    predictions = [_prediction(line, index, path) for index, line in enumerate(lines)]
    samples = [_sample(line, benchmark) for line in lines]
    return ThreedrsLines(predictions, samples, tuple(warnings))


def _parse(value: Any, index: int, path: Path, benchmark: str) -> _Line:
    try:
        line = _SHAPES[benchmark].model_validate(value)
    except ValidationError as error:
        raise annotation_error(error, path, record=index) from error
    if line.dataset.lower() != benchmark:
        reason = f"is {line.dataset!r}, which does not belong to {benchmark}"
        raise AnnotationError(path, index, "dataset", reason)
    if isinstance(line, _Text) and line.gt_response == []:
        reason = "is empty; at least one reference belongs here"
        raise AnnotationError(path, index, "gt_response", reason)
    return line


def _prediction(line: _Line, index: int, path: Path) -> Prediction:
    if isinstance(line, _Box):
        return Prediction(line.sample_id, boxes=(line.pred_response,))
    if isinstance(line, _Boxes):
        if len(line.scores) != len(line.objects) + 1:
            reason = f"{len(line.scores)} for {len(line.objects)} objects; one more is expected"
            raise AnnotationError(path, index, "scores", reason)
        return Prediction(line.sample_id, boxes=tuple(line.objects), scores=tuple(line.scores))
    assert isinstance(line, _Text)
    return Prediction(line.sample_id, text=line.pred_response or "")


def _sample(line: _Line, benchmark: str) -> Sample:
    boxes: tuple[tuple[float, ...], ...] = ()
    answers: tuple[str, ...] = ()
    if isinstance(line, _Box):
        boxes = (line.gt_response,)
    elif isinstance(line, _Boxes):
        boxes = tuple(line.gt_response)
    elif isinstance(line, _Text):
        truth = line.gt_response
        answers = tuple(truth) if isinstance(truth, list) else (truth,)
    return Sample(
        sample_id=line.sample_id,
        benchmark=benchmark,
        scene_id=bare_scene(line.scene),
        kind="text" if isinstance(line, _Text) else "ground",
        prompt="",
        answers=answers,
        target_boxes=boxes,
        question_type=line.question_type or "",
    )
