"""Multi3DRefer: find all objects a sentence describes: none, one or several. F1 at two IoUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from threedrs_components.benchmarks.annotations import (
    Identifier,
    Record,
    SceneId,
    parse_records,
    read_json,
    refuse_repeats,
)
from threedrs_components.benchmarks.boxes import AnnotationFolder
from threedrs_components.benchmarks.prompts import PromptConfig
from threedrs_components.benchmarks.tally import Tally, groups_of, pair_predictions
from threedrs_components.metrics.grounding import box_set_f1, select_boxes
from threedrs_components.metrics.iou import DOUBLE, IouRule, iou_matrix
from threedrs_platform.records import Metric, Prediction, Sample, SampleScore

NAME = "multi3drefer"
THRESHOLDS = (0.25, 0.5)
TYPES = ("zt_wo_d", "zt_w_d", "st_wo_d", "st_w_d", "mt")


class Query(Record):
    """One record of `multi3drefer_<split>.json`."""

    scene_id: SceneId
    object_ids: list[int]
    ann_id: Identifier
    description: str
    eval_type: Literal["zt_wo_d", "zt_w_d", "st_wo_d", "st_w_d", "mt"]
    object_name: str = ""
    task: str | None = None

    @property
    def sample_id(self) -> str:
        """Unique within the split."""
        objects = "-".join(str(number) for number in self.object_ids) or "none"
        return f"{NAME}_{self.scene_id}_{objects}_{self.ann_id}"


@dataclass(frozen=True)
class Multi3DRefer:
    """Grounding of any number of objects."""

    folder: AnnotationFolder
    prompts: PromptConfig = field(default_factory=PromptConfig)

    def samples(self, split: str) -> list[Sample]:
        """All descriptions of a split, in file order.

        Raises:
            AnnotationError: a faulty record, an unknown scene or object, an id twice.
        """
        path = self.folder.annotations(f"multi3drefer_{split}.json")
        records = parse_records(read_json(path), Query, path)
        refuse_repeats((record.sample_id for record in records), path)
        boxes = self.folder.objects()
        return [
            Sample(
                sample_id=record.sample_id,
                benchmark=NAME,
                scene_id=record.scene_id,
                kind="ground",
                prompt=self.prompts.render(
                    NAME, split, description=self.prompts.describe(record.description)
                ),
                target_ids=tuple(record.object_ids),
                target_boxes=tuple(
                    boxes.of(record.scene_id, number, path, index) for number in record.object_ids
                ),
                question_type=record.eval_type,
                tags={
                    "ann_id": record.ann_id,
                    "object_name": record.object_name,
                    **({"task": record.task} if record.task else {}),
                },
            )
            for index, record in enumerate(records)
        ]

    def score(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction]
    ) -> tuple[list[Metric], list[SampleScore]]:
        """f1@0.25 and f1@0.5, overall and per type."""
        return score_multi3drefer(samples, predictions)


def chosen_boxes(prediction: Prediction) -> tuple[tuple[float, ...], ...]:
    """The boxes an answer stands for: selected by score where scores are given, else all."""
    if not prediction.scores:
        return prediction.boxes
    return tuple(prediction.boxes[index] for index in select_boxes(prediction.scores))


def score_multi3drefer(
    samples: Sequence[Sample], predictions: Sequence[Prediction], rule: IouRule = DOUBLE
) -> tuple[list[Metric], list[SampleScore]]:
    """Mean F1 over descriptions; a missing prediction scores 0.

    Chance is one uniform draw among the candidates and "no object", where scores are given.
    """
    paired = pair_predictions(samples, predictions)
    values = np.zeros((len(samples), len(THRESHOLDS)))
    chance = np.full_like(values, np.nan)
    for row, (sample, prediction) in enumerate(zip(samples, paired, strict=True)):
        if prediction is None:
            continue
        boxes = chosen_boxes(prediction)
        values[row] = box_set_f1(boxes, sample.target_boxes, THRESHOLDS, rule)
        if prediction.scores:
            chance[row] = _chance(prediction, sample, rule)
    tally = Tally(NAME, samples, groups_of(samples, TYPES))
    for column, threshold in enumerate(THRESHOLDS):
        tally.add(f"f1@{threshold:g}", values[:, column], chance=chance[:, column])
    tally.add_missing(paired)
    return tally.metrics, tally.scores


def _chance(prediction: Prediction, sample: Sample, rule: IouRule) -> list[float]:
    """Expected F1 of one random entry of the scores: a single box, or the empty answer."""
    entries = len(prediction.boxes) + 1
    if not sample.target_boxes:
        return [1.0 / entries] * len(THRESHOLDS)
    if not prediction.boxes:
        return [0.0] * len(THRESHOLDS)
    best = iou_matrix(prediction.boxes, sample.target_boxes, rule).max(axis=1)
    f1_of_a_hit = 2.0 / (1 + len(sample.target_boxes))
    return [f1_of_a_hit * float((best >= limit).sum()) / entries for limit in THRESHOLDS]
