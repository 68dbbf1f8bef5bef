"""Result lines of 3DRS and Video-3D-LLM, which carry the truth beside the prediction."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from threedrs_components.benchmarks.annotations import (
    Box,
    FiniteBox,
    Identifier,
    Record,
    Score,
    annotation_error,
    bare_scene,
    refuse_repeats,
)
from threedrs_components.benchmarks.evaluator_format import EvaluatorFormat, PredictionFile
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Prediction, Sample


class ResultLine(Record):
    """What every line says."""

    dataset: str
    sample_id: Identifier = Field(min_length=1)
    question_type: str | None = None
    scene: str = ""

    @abstractmethod
    def prediction(self) -> Prediction:
        """What the model answered."""

    def boxes(self) -> tuple[Box, ...]:
        """The true boxes."""
        return ()

    def answers(self) -> tuple[str, ...]:
        """The true texts."""
        return ()


class BoxLine(ResultLine):
    """One box was asked for."""

    pred_response: FiniteBox
    gt_response: FiniteBox

    def prediction(self) -> Prediction:
        """The predicted box."""
        return Prediction(self.sample_id, boxes=(self.pred_response,))

    def boxes(self) -> tuple[Box, ...]:
        """The true box."""
        return (self.gt_response,)


class ScoredBoxesLine(ResultLine):
    """Any number of boxes was asked for."""

    objects: list[FiniteBox]
    scores: list[Score]
    gt_response: list[FiniteBox]

    @field_validator("scores")
    @classmethod
    def _one_more_than_objects(cls, scores: list[float], info: ValidationInfo) -> list[float]:
        """The last score is that of "no object"."""
        count = len(info.data.get("objects", ()))
        if "objects" in info.data and len(scores) != count + 1:
            raise ValueError(f"{len(scores)} for {count} objects; one more is expected")
        return scores

    def prediction(self) -> Prediction:
        """All candidates with their scores."""
        return Prediction(self.sample_id, boxes=tuple(self.objects), scores=tuple(self.scores))

    def boxes(self) -> tuple[Box, ...]:
        """The true boxes, maybe none."""
        return tuple(self.gt_response)


class TextLine(ResultLine):
    """A text was asked for."""

    pred_response: str | None
    gt_response: str | list[str]

    @field_validator("gt_response")
    @classmethod
    def _has_a_reference(cls, truth: str | list[str]) -> str | list[str]:
        if truth == []:
            raise ValueError("is empty; at least one reference belongs here")
        return truth

    def prediction(self) -> Prediction:
        """The predicted text."""
        return Prediction(self.sample_id, text=self.pred_response or "")

    def answers(self) -> tuple[str, ...]:
        """The reference, or all of them."""
        truth = self.gt_response
        return tuple(truth) if isinstance(truth, list) else (truth,)


def result_lines(line: type[ResultLine], *, several_answers: bool = False) -> EvaluatorFormat:
    """The format for one benchmark.

    Args:
        line: what its lines hold.
        several_answers: its annotations have several answers to a question, of which 3DRS writes
            one; that is said in a warning. Lines on one question are then rows of their own.
    """

    def read(values: Any, path: Path, kind: str) -> PredictionFile:
        items = values if isinstance(values, list) else [values]
        lines = [_parse(line, value, index, path, kind) for index, value in enumerate(items)]
        if not lines:
            raise AnnotationError(path, "-", "file", "is empty; it holds no prediction")
        if not several_answers:
            refuse_repeats((each.sample_id for each in lines), path)
        asked = _one_per_question(lines) if several_answers else lines
        return PredictionFile(
            "3drs",
            [each.prediction() for each in lines],
            [_sample(each, kind) for each in asked],
            warnings=_warnings(lines, several_answers),
            by_rows=several_answers,
        )

    return EvaluatorFormat("3drs", line, read)


_NUMBERED = re.compile(r"([^_]+_.+)_[0-9]+")


def numbered_question(name: str) -> str:
    """`<benchmark>_<question>` of `<benchmark>_<question>_<k>`; empty for other names."""
    found = _NUMBERED.fullmatch(name)
    return found[1] if found else ""


def _one_per_question(lines: Sequence[ResultLine]) -> list[ResultLine]:
    """Of the lines on one question that which is numbered 0, else the first: it has the truth."""
    found: dict[str, ResultLine] = {}
    for line in lines:
        whole = numbered_question(line.sample_id)
        kept = found.setdefault(whole or line.sample_id, line)
        if line.sample_id == f"{whole}_0" != kept.sample_id:
            found[whole] = line
    return list(found.values())


def _warnings(lines: Sequence[ResultLine], several_answers: bool) -> tuple[str, ...]:
    unseen = "the truth is that of the lines: a sample without line is not seen to be missing"
    lost = (
        "these lines carry one reference per question; give --annotations to score against all "
        "answers"
    )
    single = all(isinstance(each, TextLine) and isinstance(each.gt_response, str) for each in lines)
    return (unseen, lost) if several_answers and single else (unseen,)


def _parse(
    line: type[ResultLine], value: Any, index: int, path: Path, benchmark: str
) -> ResultLine:
    try:
        parsed = line.model_validate(value)
    except ValidationError as error:
        raise annotation_error(error, path, record=index) from error
    if parsed.dataset.lower() != benchmark:
        reason = f"is {parsed.dataset!r}, which does not belong to {benchmark}"
        raise AnnotationError(path, index, "dataset", reason)
    return parsed


def _sample(line: ResultLine, benchmark: str) -> Sample:
    return Sample(
        sample_id=line.sample_id,
        benchmark=benchmark,
        scene_id=bare_scene(line.scene),
        kind="text" if line.answers() else "ground",
        prompt="",
        answers=line.answers(),
        target_boxes=line.boxes(),
        question_type=line.question_type or "",
    )
