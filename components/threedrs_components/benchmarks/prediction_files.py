"""Our own prediction files: JSON Lines, one object per sample.

Keys: `id`, and what the benchmark asks for: `text`, or `boxes` (six numbers each, centre and size),
or `boxes` with `scores` (one per box, and one more for "no object"). Optional: `texts`, several
answers in order of rank; with a scene's name as `id`, one caption per box (Scan2Cap).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from threedrs_components.benchmarks.annotations import (
    FiniteBox,
    Identifier,
    Record,
    Score,
    annotation_error,
)
from threedrs_components.json_files import read_lines
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Prediction


class PredictionLine(Record):
    """One line of a prediction file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_id: Identifier = Field(alias="id", min_length=1)
    text: str | None = None
    boxes: tuple[FiniteBox, ...] = ()
    scores: tuple[Score, ...] = ()
    texts: tuple[str, ...] = ()

    @classmethod
    def of(cls, prediction: Prediction) -> PredictionLine:
        """A prediction that was made in Python, checked as one that was read."""
        return cls.model_validate(_line(prediction))

    @model_validator(mode="after")
    def _one_score_more_than_boxes(self) -> Self:
        if self.scores and len(self.scores) != len(self.boxes) + 1:
            raise ValueError(
                f"{len(self.scores)} scores for {len(self.boxes)} boxes; there must be one score "
                'per box and a last one for "no object"'
            )
        return self

    def prediction(self) -> Prediction:
        """The value that crosses borders."""
        return Prediction(self.sample_id, self.text, self.boxes, self.scores, self.texts)


def parse_predictions(values: Iterable[object], file: Path | str) -> list[Prediction]:
    """Predictions from the JSON values of a file's lines.

    Raises:
        AnnotationError: names the record (counted from 0) and the field at fault.
    """
    predictions = []
    for index, value in enumerate(values):
        try:
            predictions.append(PredictionLine.model_validate(value).prediction())
        except ValidationError as error:
            fault = annotation_error(error, file, record=index)
            raise fault from error
    if not predictions:
        raise AnnotationError(file, "-", "file", "is empty; one JSON object per line is expected")
    return predictions


def check_predictions(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Predictions made in Python, held to the rules of a file: six finite numbers a box, and so on.

    Raises:
        AnnotationError: names the record (counted from 0) and the field at fault.
    """
    for index, prediction in enumerate(predictions):
        try:
            PredictionLine.of(prediction)
        except ValidationError as error:
            raise annotation_error(error, "predictions", record=index) from error
    return list(predictions)


def read_predictions(path: Path) -> list[Prediction]:
    """Read our JSON Lines; raises AnnotationError as `parse_predictions` and `read_lines` do."""
    return parse_predictions(read_lines(path), path)


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> int:
    """Write our JSON Lines; returns how many."""
    lines = [json.dumps(_line(prediction), ensure_ascii=False) for prediction in predictions]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return len(lines)


def _line(prediction: Prediction) -> dict[str, object]:
    """Only what the prediction has."""
    line: dict[str, object] = {"id": prediction.sample_id}
    if prediction.text is not None:
        line["text"] = prediction.text
    if prediction.boxes:
        line["boxes"] = [list(box) for box in prediction.boxes]
    if prediction.scores:
        line["scores"] = list(prediction.scores)
    if prediction.texts:
        line["texts"] = list(prediction.texts)
    return line
