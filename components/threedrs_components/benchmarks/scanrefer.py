"""ScanRefer: find the one object a sentence describes. Accuracy at IoU 0.25 and 0.5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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
from threedrs_components.benchmarks.label_map import LabelMap, unique_or_multiple
from threedrs_components.benchmarks.prompts import PromptConfig
from threedrs_components.benchmarks.tally import Tally, groups_of, pair_predictions
from threedrs_components.metrics.grounding import best_candidate
from threedrs_components.metrics.iou import iou_matrix
from threedrs_platform.records import Metric, Prediction, Sample, SampleScore

NAME = "scanrefer"
THRESHOLDS = (0.25, 0.5)
TYPES = ("unique", "multiple")


class Description(Record):
    """One record of `ScanRefer_filtered_<split>.json`."""

    scene_id: SceneId
    object_id: int
    object_name: str
    ann_id: Identifier
    description: str
    eval_type: str | None = None
    """"unique" or "multiple", written back by some preprocessing."""
    task: str | None = None
    """Which micro-world task the sentence was made for."""

    @property
    def sample_id(self) -> str:
        """Unique within the split."""
        return f"{NAME}_{self.scene_id}_{self.object_id}_{self.ann_id}"


def described_types(records: Sequence[Description], label_map: LabelMap | None) -> list[str]:
    """unique or multiple for each record: as written, by the label table, else by object name."""
    class_of = label_map.nyu40_class if label_map else str
    derived = unique_or_multiple(
        [(record.scene_id, str(record.object_id), record.object_name) for record in records],
        class_of,
    )
    return [record.eval_type or kind for record, kind in zip(records, derived, strict=True)]


@dataclass(frozen=True)
class ScanRefer:
    """Grounding of one object."""

    folder: AnnotationFolder
    prompts: PromptConfig = field(default_factory=PromptConfig)

    def samples(self, split: str) -> list[Sample]:
        """All descriptions of a split, in file order.

        Raises:
            AnnotationError: a faulty record, an unknown scene or object, an id twice.
        """
        path = self.folder.annotations(f"ScanRefer_filtered_{split}.json")
        records = parse_records(read_json(path), Description, path)
        refuse_repeats((record.sample_id for record in records), path)
        boxes, types = self.folder.objects(), described_types(records, self.folder.label_map)
        return [
            Sample(
                sample_id=record.sample_id,
                benchmark=NAME,
                scene_id=record.scene_id,
                kind="ground",
                prompt=self.prompts.render(
                    NAME, split, description=self.prompts.describe(record.description)
                ),
                target_ids=(record.object_id,),
                target_boxes=(boxes.of(record.scene_id, record.object_id, path, index),),
                question_type=types[index],
                tags={
                    "object_name": record.object_name,
                    "ann_id": record.ann_id,
                    **({"task": record.task} if record.task else {}),
                },
            )
            for index, record in enumerate(records)
        ]

    def score(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction]
    ) -> tuple[list[Metric], list[SampleScore]]:
        """acc@0.25 and acc@0.5, overall, per type and per task."""
        return score_scanrefer(samples, predictions)


def chosen_box(prediction: Prediction | None) -> tuple[float, ...] | None:
    """The box an answer stands for: the best scored one, or the first where no scores are given."""
    if prediction is None or not prediction.boxes:
        return None
    if not prediction.scores:
        return prediction.boxes[0]
    best = best_candidate(prediction.scores)
    return None if best is None else prediction.boxes[best]


def score_scanrefer(
    samples: Sequence[Sample], predictions: Sequence[Prediction]
) -> tuple[list[Metric], list[SampleScore]]:
    """Share of samples whose chosen box overlaps the target enough; a missing one is a miss.

    Chance is a uniform draw among the candidates, where a prediction brings scored candidates.
    """
    paired = pair_predictions(samples, predictions)
    overlaps, chance = np.zeros(len(samples)), np.full((len(samples), len(THRESHOLDS)), np.nan)
    for row, (sample, prediction) in enumerate(zip(samples, paired, strict=True)):
        box = chosen_box(prediction)
        if prediction is None or box is None:
            continue
        overlaps[row] = iou_matrix([box], sample.target_boxes).max()
        if prediction.scores:
            candidates = iou_matrix(prediction.boxes, sample.target_boxes)[:, 0]
            chance[row] = [(candidates >= threshold).mean() for threshold in THRESHOLDS]
    tally = Tally(NAME, samples, groups_of(samples, TYPES))
    for column, threshold in enumerate(THRESHOLDS):
        tally.add(f"acc@{threshold:g}", overlaps >= threshold, chance=chance[:, column])
    tally.add_missing(paired)
    return tally.metrics, tally.scores
