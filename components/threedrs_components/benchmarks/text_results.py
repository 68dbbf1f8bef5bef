"""Texts by id in the forms of general tools: sample logs of lmms-eval, COCO results, {id: text}."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, ConfigDict, Field, ValidationError

from threedrs_components.benchmarks.annotations import (
    Identifier,
    Record,
    annotation_error,
    parse_records,
)
from threedrs_components.benchmarks.evaluator_format import EvaluatorFormat, PredictionFile
from threedrs_components.benchmarks.exported_logs import LMMS_EVAL, is_exported, read_exported_log
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Prediction

COCO, MAPPING = "coco", "mapping"
_IDS = ("image_id", "question_id", "id")
_TEXTS = ("caption", "answer")
_NAMES = ("question_id", "id", "sample_id")
"""What documents of data sets call their id; the first that a document has is taken."""


class _LoggedSample(Record):
    """One line of a log that lmms-eval writes with --log_samples.

    Its versions of 2026 write no documents; what tasks say of an answer stands under the names of
    metrics, and often holds the document or its id.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    doc_id: Identifier
    doc: dict[str, Any] | None = None
    filtered_resps: Any = None
    resps: Any = None

    def document(self) -> Mapping[str, Any]:
        """The first value that is a document of ours or has an id; empty for none."""
        said = (self.doc, *(self.model_extra or {}).values())
        named = (
            each
            for each in said
            if isinstance(each, Mapping)
            and (is_exported(each) or any(each.get(name) is not None for name in _NAMES))
        )
        return next(named, {})


class _Result(Record):
    """One text of a COCO or VQA result list."""

    name: Identifier = Field(validation_alias=AliasChoices(*_IDS), min_length=1)
    text: str = Field(validation_alias=AliasChoices(*_TEXTS))


class _Texts(Record):
    """A file of texts by id."""

    texts: dict[str, str]


def _read_log(values: Any, path: Path, kind: str) -> PredictionFile:
    if isinstance(values, Mapping):
        values = values.get("logs", [values])  # older versions wrote one object with a list
    lines = parse_records(values, _LoggedSample, path)
    documents = [line.document() for line in lines]
    if any(map(is_exported, documents)):
        answers = [_response(line, index, path) for index, line in enumerate(lines)]
        return read_exported_log(list(zip(documents, answers, strict=True)), path, kind)
    predictions: list[Prediction] = []
    truths: dict[str, str] = {}
    for index, line in enumerate(lines):
        document = documents[index]
        name = next((document[each] for each in _NAMES if document.get(each) is not None), None)
        if not isinstance(name, (str, int, float)) or isinstance(name, bool):
            reason = (
                "has no question_id or id, and doc_id is only a place in the data set as it was "
                "shuffled or cut there; log the samples with their documents, or, where lmms-eval "
                "leaves these out, let the task's process_results give the id"
            )
            raise AnnotationError(path, index, "doc", reason)
        predictions.append(Prediction(_as_id(name), text=_response(line, index, path)))
        truth = document.get("ground_truth")
        if isinstance(truth, (str, int, float)):
            truths[_as_id(name)] = _as_id(truth)
    return PredictionFile(LMMS_EVAL, predictions, truths=truths)


def _as_id(name: str | float) -> str:
    return str(int(name)) if isinstance(name, float) and name.is_integer() else str(name)


def _response(line: _LoggedSample, index: int, path: Path) -> str:
    """The one text in lists of lists."""
    field = "resps" if line.filtered_resps is None else "filtered_resps"
    found: list[Any] = [getattr(line, field)]
    while any(isinstance(each, list) for each in found):
        found = [item for each in found for item in (each if isinstance(each, list) else [each])]
    if len(found) != 1 or not isinstance(found[0], str):
        reason = f"holds {len(found)} responses; one text is expected" + (
            "" if len(found) != 1 else f", not a {type(found[0]).__name__}"
        )
        raise AnnotationError(path, index, field, reason)
    return found[0]


def _read_results(values: Any, path: Path, kind: str) -> PredictionFile:
    items = values if isinstance(values, list) else [values]
    found = parse_records(items, _Result, path)
    return PredictionFile(COCO, [Prediction(each.name, text=each.text) for each in found])


def _read_mapping(values: Any, path: Path, kind: str) -> PredictionFile:
    try:
        found = _Texts.model_validate({"texts": values})
    except ValidationError as error:
        raise annotation_error(error, path, record="-") from error
    predictions = [Prediction(name, text=text) for name, text in found.texts.items()]
    return PredictionFile(MAPPING, predictions)


TEXT_FORMATS = (
    EvaluatorFormat(LMMS_EVAL, _LoggedSample, _read_log),
    EvaluatorFormat(COCO, _Result, _read_results),
    EvaluatorFormat(MAPPING, _Texts, _read_mapping),
)


def text_format(values: Any) -> str | None:
    """The one of these formats that parsed JSON has; None if it has none."""
    first = values[0] if isinstance(values, list) and values else values
    if not isinstance(first, Mapping):
        return None
    if first is values and isinstance(values.get("logs"), list) and values["logs"]:
        first = values["logs"][0] if isinstance(values["logs"][0], Mapping) else {}
    if "doc_id" in first and ("filtered_resps" in first or "resps" in first):
        return LMMS_EVAL
    if any(each in first for each in _IDS) and any(each in first for each in _TEXTS):
        return COCO
    if isinstance(values, Mapping) and values and all(isinstance(v, str) for v in values.values()):
        return None if {"id", "text"} <= values.keys() else MAPPING
    return None
