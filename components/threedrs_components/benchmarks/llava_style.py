"""The processed conversations of Video-3D-LLM and 3DRS, `*_llava_style.json`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from threedrs_components.benchmarks.annotations import (
    Box,
    FiniteBox,
    Identifier,
    Record,
    SceneId,
    parse_records,
    refuse_repeats,
)
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Sample

_PLACEHOLDER = "<image>"


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

    def targets(self, *, several: bool) -> tuple[Box, ...]:
        """The boxes to find.

        Raises:
            ValueError: there are none, or one where several are wanted, or the reverse.
        """
        if self.box is None:
            raise ValueError("is missing; the target's six numbers belong here")
        if isinstance(self.box, list) != several:
            wanted = "a list of boxes" if several else "one box of six numbers"
            raise ValueError(f"must be {wanted}")
        return tuple(self.box) if isinstance(self.box, list) else (self.box,)


@dataclass(frozen=True)
class Truth:
    """What of a conversation only its benchmark knows."""

    boxes: tuple[Box, ...] = ()
    grounding: bool = False
    """Whether the boxes are the answer; else the texts are."""
    alias: str = ""
    """What raw files call the sample, so that predictions made for those find it."""


def is_llava_style(values: Any) -> bool:
    """Whether parsed JSON has the shape of processed conversations."""
    return (
        isinstance(values, list)
        and bool(values)
        and isinstance(values[0], dict)
        and "conversations" in values[0]
    )


def llava_samples(
    values: Any,
    path: Path,
    benchmark: str,
    preamble: str,
    truth_of: Callable[[Conversation], Truth | None],
    *,
    shared_ids: bool = False,
) -> list[Sample]:
    """Samples in file order, worded as the file words them, under the file's own ids.

    Args:
        values: the parsed file.
        path: its name, for messages.
        benchmark: the data set that every record must belong to.
        preamble: what goes before every prompt.
        truth_of: see `Loader.truth_of`.
        shared_ids: see `Loader.wordings_share_an_id`.

    Raises:
        AnnotationError: a faulty record, one of another data set, or an id twice.
    """
    records = parse_records(values, Conversation, path)
    if shared_ids:
        records = _numbered_wordings(records, path)
    refuse_repeats((record.id for record in records), path)
    samples = []
    for index, record in enumerate(records):
        question, answer = record.conversations
        try:
            truth = truth_of(record) if record.metadata.dataset.lower() == benchmark else None
        except ValueError as error:
            raise AnnotationError(path, index, "box", str(error)) from error
        if truth is None:
            reason = f"is {record.metadata.dataset!r}, which does not belong to {benchmark}"
            raise AnnotationError(path, index, "metadata.dataset", reason)
        if (question.speaker, answer.speaker) != ("human", "gpt"):
            reason = "must be a human turn and then a gpt turn"
            raise AnnotationError(path, index, "conversations", reason)
        samples.append(_sample(record, benchmark, preamble, truth))
    return samples


def _numbered_wordings(records: Sequence[Conversation], path: Path) -> list[Conversation]:
    """Records of one question, a wording each, numbered in file order: <id>_0, <id>_1 and so on.

    Raises:
        AnnotationError: records of one id are about several scenes, or have several answers.
    """
    found: dict[str, list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        found[record.id].append(index)
    numbered = list(records)
    for name, rows in found.items():
        first = records[rows[0]]
        for number, row in enumerate(rows if len(rows) > 1 else ()):
            record = records[row]
            if (record.video, record.conversations[1]) != (first.video, first.conversations[1]):
                reason = (
                    f"{name!r} is also record {rows[0]}'s, of another scene or with another "
                    "answer; ids must be unique, but for wordings of one question"
                )
                raise AnnotationError(path, row, "id", reason)
            numbered[row] = record.model_copy(update={"id": f"{name}_{number}"})
    return numbered


def _sample(record: Conversation, benchmark: str, preamble: str, truth: Truth) -> Sample:
    question, answer = record.conversations
    ids, annotation = record.metadata.object_id, record.metadata.ann_id
    references = record.metadata.answers or record.annotations or [answer.value]
    return Sample(
        sample_id=record.id,
        benchmark=benchmark,
        scene_id=record.video,
        kind="ground" if truth.grounding else "text",
        prompt=preamble + question.value.replace(_PLACEHOLDER, ""),
        answers=() if truth.grounding else tuple(references),
        target_ids=tuple(ids) if isinstance(ids, list) else () if ids is None else (ids,),
        target_boxes=truth.boxes,
        box_input=record.box_input,
        question_type=record.metadata.question_type or "",
        tags={
            **({} if annotation is None else {"ann_id": annotation}),
            **({"alias": truth.alias} if truth.alias else {}),
        },
    )
