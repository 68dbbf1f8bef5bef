"""The processed conversations of Video-3D-LLM and 3DRS, `*_llava_style.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from threedrs_components.benchmarks.annotations import (
    Identifier,
    Record,
    SceneId,
    parse_records,
    refuse_repeats,
)
from threedrs_components.benchmarks.boxes import FiniteBox
from threedrs_components.benchmarks.prompts import PromptConfig
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Sample

_PLACEHOLDER = "<image>"
_DATASETS = ("scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d")
_GROUNDING = ("scanrefer", "multi3drefer")


class Turn(Record):
    """One side of a conversation."""

    speaker: Literal["human", "gpt"] = Field(alias="from")
    value: str


class Metadata(Record):
    """Where a conversation comes from."""

    dataset: str
    question_type: str | None = None
    ann_id: Identifier | None = None
    object_id: int | list[int] | None = None
    answers: list[str] | None = None


class Conversation(Record):
    """One record."""

    id: Identifier
    video: SceneId
    conversations: list[Turn] = Field(min_length=2, max_length=2)
    metadata: Metadata
    box: FiniteBox | list[FiniteBox] | None = None
    gt_box: FiniteBox | None = None
    box_input: FiniteBox | None = None
    annotations: list[str] | None = None


def is_llava_style(values: Any) -> bool:
    """Whether parsed JSON has the shape of processed conversations."""
    return (
        isinstance(values, list)
        and bool(values)
        and isinstance(values[0], dict)
        and "conversations" in values[0]
    )


def llava_samples(
    values: Any, path: Path, benchmark: str, prompts: PromptConfig, split: str
) -> list[Sample]:
    """Samples in file order, worded as the file words them, under the file's own ids.

    Raises:
        AnnotationError: a faulty record, one of another data set, or an id twice.
    """
    records = parse_records(values, Conversation, path)
    refuse_repeats((record.id for record in records), path)
    return [
        _sample(record, index, path, benchmark, prompts.preamble(split))
        for index, record in enumerate(records)
    ]


def _sample(record: Conversation, index: int, path: Path, benchmark: str, preamble: str) -> Sample:
    if benchmark not in _DATASETS or record.metadata.dataset.lower() != benchmark:
        reason = f"is {record.metadata.dataset!r}, which does not belong to {benchmark}"
        raise AnnotationError(path, index, "metadata.dataset", reason)
    question, answer = record.conversations
    if (question.speaker, answer.speaker) != ("human", "gpt"):
        reason = "must be a human turn and then a gpt turn"
        raise AnnotationError(path, index, "conversations", reason)
    ids = record.metadata.object_id
    grounding = benchmark in _GROUNDING
    references = record.metadata.answers or record.annotations or [answer.value]
    return Sample(
        sample_id=record.id,
        benchmark=benchmark,
        scene_id=record.video,
        kind="ground" if grounding else "text",
        prompt=preamble + question.value.replace(_PLACEHOLDER, "").strip(),
        answers=() if grounding else tuple(references),
        target_ids=tuple(ids) if isinstance(ids, list) else () if ids is None else (ids,),
        target_boxes=_targets(record, index, path, benchmark),
        box_input=record.box_input,
        question_type=record.metadata.question_type or "",
        tags=_tags(record, benchmark),
    )


def _tags(record: Conversation, benchmark: str) -> dict[str, str]:
    """What raw files call the sample, so that predictions made for those find it."""
    annotation, target = record.metadata.ann_id, record.metadata.object_id
    tags = {} if annotation is None else {"ann_id": annotation}
    if benchmark == "scanrefer" and annotation is not None and isinstance(target, int):
        tags["alias"] = f"{benchmark}_{record.video}_{target}_{annotation}"
    elif benchmark == "multi3drefer" and annotation is not None:
        tags["alias"] = f"{benchmark}_{record.video}_{annotation}"
    elif benchmark == "scanqa" and record.id.startswith("scanqa_"):
        tags["alias"] = record.id.removeprefix("scanqa_").rpartition("_")[0]
    return tags


def _targets(
    record: Conversation, index: int, path: Path, benchmark: str
) -> tuple[tuple[float, ...], ...]:
    if benchmark == "scan2cap":
        return (record.gt_box,) if record.gt_box else ()
    if benchmark not in _GROUNDING:
        return ()
    if record.box is None:
        raise AnnotationError(
            path, index, "box", "is missing; the target's six numbers belong here"
        )
    several = isinstance(record.box, list)
    if several != (benchmark == "multi3drefer"):
        wanted = "a list of boxes" if benchmark == "multi3drefer" else "one box of six numbers"
        raise AnnotationError(path, index, "box", f"must be {wanted}")
    return tuple(record.box) if isinstance(record.box, list) else (record.box,)
