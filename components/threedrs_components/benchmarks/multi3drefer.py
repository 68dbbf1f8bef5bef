"""Multi3DRefer: find all objects a sentence describes: none, one or several. F1 at two IoUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from threedrs_components.benchmarks.annotation_files import (
    AnnotationFiles,
    AnnotationFolder,
    Parsed,
)
from threedrs_components.benchmarks.annotations import (
    Identifier,
    Record,
    SceneId,
    parse_records,
    refuse_repeats,
)
from threedrs_components.benchmarks.boxes import target_box
from threedrs_components.benchmarks.kinds import BenchmarkKind
from threedrs_components.benchmarks.prompts import PromptConfig
from threedrs_components.benchmarks.tally import Evaluation, Tally, groups_of, pair_predictions
from threedrs_components.metrics.grounding import box_set_f1, select_boxes
from threedrs_components.metrics.iou import DOUBLE, M3DREF_CLIP, IouRule, iou_matrix
from threedrs_platform.records import Prediction, Sample

NAME = "multi3drefer"
THRESHOLDS = (0.25, 0.5)
EvalType = Literal["zt_wo_d", "zt_w_d", "st_wo_d", "st_w_d", "mt"]
"""Zero, single or multiple targets, without or with distractors."""
TYPES: tuple[EvalType, ...] = get_args(EvalType)
PROTOCOLS = {
    "3drs": "IoU in float64, assignment in float32; zero-target queries by their empty truth",
    "m3dref": "M3DRef-CLIP: IoU in float32; zero-target queries by their type, repeats collapse",
}


class Query(Record):
    """One record of `multi3drefer_<split>.json`."""

    scene_id: SceneId
    object_ids: list[int]
    ann_id: Identifier
    description: str
    eval_type: EvalType
    object_name: str = ""
    task: str | None = None

    @property
    def sample_id(self) -> str:
        """Unique within the split."""
        objects = "-".join(str(number) for number in self.object_ids) or "none"
        return f"{NAME}_{self.scene_id}_{objects}_{self.ann_id}"


def read_multi3drefer(
    parsed: Parsed, files: AnnotationFiles, prompts: PromptConfig, split: str
) -> list[Sample]:
    """One sample per description, in file order."""
    [(path, values)] = parsed
    records = parse_records(values, Query, path)
    refuse_repeats((record.sample_id for record in records), path)
    return [
        Sample(
            sample_id=record.sample_id,
            benchmark=NAME,
            scene_id=record.scene_id,
            kind="ground",
            prompt=prompts.render(NAME, split, description=prompts.describe(record.description)),
            target_ids=tuple(record.object_ids),
            target_boxes=tuple(
                target_box(None, files.objects, record.scene_id, number, path, index)
                for number in record.object_ids
            ),
            question_type=record.eval_type,
            tags={
                "ann_id": record.ann_id,
                "alias": f"{NAME}_{record.scene_id}_{record.ann_id}",
                "object_name": record.object_name,
                **({"task": record.task} if record.task else {}),
            },
        )
        for index, record in enumerate(records)
    ]


def chosen_boxes(prediction: Prediction) -> tuple[tuple[float, ...], ...]:
    """The boxes an answer stands for: selected by score where scores are given, else all."""
    if not prediction.scores:
        return prediction.boxes
    return tuple(prediction.boxes[index] for index in select_boxes(prediction.scores))


def evaluate_multi3drefer(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    protocol: str,
    text_metrics: Sequence[str] = (),
) -> Evaluation:
    """Mean F1 over descriptions; a missing prediction scores 0.

    Chance is one uniform draw among the candidates and "no object", where scores are given.
    """
    paired = pair_predictions(samples, predictions)
    rule = M3DREF_CLIP if protocol == "m3dref" else DOUBLE
    values = np.zeros((len(samples), len(THRESHOLDS)))
    chance = np.full_like(values, np.nan)
    for row, (sample, prediction) in enumerate(zip(samples, paired, strict=True)):
        if prediction is None:
            continue
        truth = _truth(sample, protocol)
        values[row] = box_set_f1(chosen_boxes(prediction), truth, THRESHOLDS, rule)
        if prediction.scores:
            chance[row] = _chance(prediction, truth, rule)
    tally = Tally(NAME, protocol, samples, groups_of(samples, TYPES))
    for column, threshold in enumerate(THRESHOLDS):
        tally.add(f"f1@{threshold:g}", values[:, column], chance=chance[:, column])
    return tally.evaluation(paired)


def _truth(sample: Sample, protocol: str) -> tuple[tuple[float, ...], ...]:
    """True boxes. M3DRef-CLIP looks objects up by id, so an id named twice is one box."""
    if protocol != "m3dref":
        return sample.target_boxes
    if sample.question_type.startswith("zt"):
        return ()
    if len(sample.target_ids) != len(sample.target_boxes):
        return sample.target_boxes
    by_id = dict(zip(sample.target_ids, sample.target_boxes, strict=True))
    return tuple(by_id[number] for number in sorted(by_id))


def _chance(prediction: Prediction, truth: Sequence[Sequence[float]], rule: IouRule) -> list[float]:
    """Expected F1 of one random entry of the scores: a single box, or the empty answer."""
    entries = len(prediction.boxes) + 1
    if not truth:
        return [1.0 / entries] * len(THRESHOLDS)
    if not prediction.boxes:
        return [0.0] * len(THRESHOLDS)
    best = iou_matrix(prediction.boxes, truth, rule).max(axis=1)
    f1_of_a_hit = 2.0 / (1 + len(truth))
    return [f1_of_a_hit * float((best >= limit).sum()) / entries for limit in THRESHOLDS]


def locate_multi3drefer(folder: AnnotationFolder, split: str) -> AnnotationFiles:
    """The split's file in a folder."""
    return AnnotationFiles((folder.annotations(f"multi3drefer_{split}.json"),), folder.objects())


MULTI3DREFER = BenchmarkKind(
    NAME,
    PROTOCOLS,
    locate_multi3drefer,
    read_multi3drefer,
    evaluate_multi3drefer,
    takes=("boxes", "scores"),
    types=TYPES,
    uses_boxes=True,
)
