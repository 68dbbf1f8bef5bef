"""Logs of lmms-eval over tasks that we exported: each line carries the sample it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from threedrs_components.benchmarks.annotations import annotation_error
from threedrs_components.benchmarks.evaluator_format import PredictionFile
from threedrs_components.benchmarks.tally import Unread
from threedrs_components.benchmarks.text_answers import NO_BOX, is_read, prediction_in_words
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Prediction, Sample

LMMS_EVAL = "lmms-eval"
_SAMPLE = TypeAdapter(Sample)


def is_exported(document: Mapping[str, Any]) -> bool:
    """Whether a logged document is one of ours."""
    return document.keys() >= {"sample", "benchmark", "one_box"}


def read_exported_log(
    lines: Sequence[tuple[Mapping[str, Any], str]], path: Path, kind: str
) -> PredictionFile:
    """Predictions and samples of the documents that were asked.

    Texts lose the blanks around them, as they do before lmms-eval scores them.

    Args:
        lines: each document, and the answer to it.
        path: the log.
        kind: the benchmark that is scored.

    Raises:
        AnnotationError: a document of another benchmark, or without its sample.
    """
    predictions: list[Prediction] = []
    samples: list[Sample] = []
    read: list[tuple[object, bool]] = []
    for index, (document, text) in enumerate(lines):
        sample, one_box = _sample_of(document, index, path, kind), bool(document.get("one_box"))
        samples.append(sample)
        predictions.append(prediction_in_words(sample, text.strip(), one_box=one_box))
        read.append((repr(text), is_read(sample, text, one_box=one_box)))
    warnings = ("the truth is that of the log: a question that was not asked is not seen",)
    unread = Unread.among(NO_BOX, read)
    return PredictionFile(LMMS_EVAL, predictions, samples, warnings=warnings, unread=unread)


def _sample_of(document: Mapping[str, Any], index: int, path: Path, kind: str) -> Sample:
    try:
        sample = _SAMPLE.validate_json(document.get("sample") or "null")
    except ValidationError as error:
        raise annotation_error(error, path, index) from error
    if sample.benchmark != kind:
        reason = f"is of {sample.benchmark}; `workflows score {sample.benchmark}` scores it"
        raise AnnotationError(path, index, "doc", reason)
    return sample
