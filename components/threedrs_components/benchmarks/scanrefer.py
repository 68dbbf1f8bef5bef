"""ScanRefer: find the one object a sentence describes. Accuracy at IoU 0.25 and 0.5."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

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
from threedrs_components.benchmarks.boxes import Corners, target_box
from threedrs_components.benchmarks.kinds import BenchmarkKind
from threedrs_components.benchmarks.label_map import OTHERS, LabelMap, unique_or_multiple
from threedrs_components.benchmarks.prompts import PromptConfig
from threedrs_components.benchmarks.tally import (
    LEFT_OUT,
    Evaluation,
    Mask,
    Tally,
    groups_of,
    pair_predictions,
)
from threedrs_components.metrics.grounding import best_candidate
from threedrs_components.metrics.iou import DOUBLE, M3DREF_CLIP, IouRule, iou_matrix, paired_iou
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Prediction, Sample

NAME = "scanrefer"
THRESHOLDS = (0.25, 0.5)
EvalType = Literal["unique", "multiple"]
TYPES: tuple[EvalType, ...] = get_args(EvalType)
PROTOCOLS = {
    "3drs": "IoU in float64; unique/multiple by 20 nyu40 classes; a missing prediction is a miss",
    "official": "ScanRefer's benchmark: 17 classes and others, means over the predictions given",
    "m3dref": "M3DRef-CLIP: IoU in float32; otherwise as 3drs",
}


class Description(Record):
    """One record of `ScanRefer_filtered_<split>.json`."""

    scene_id: SceneId
    object_id: int
    object_name: str
    ann_id: Identifier
    description: str
    token: list[str] | None = None
    bbox: Corners | None = None
    """The target's eight corners, in `ScanRefer_filtered_<split>_gt_bbox.json`."""
    eval_type: EvalType | None = None
    """Written back by some preprocessing."""
    task: str | None = None
    """Which micro-world task the sentence was made for."""

    @property
    def key(self) -> str:
        """Scene, object and annotation, unique within the split."""
        return f"{self.scene_id}_{self.object_id}_{self.ann_id}"

    @property
    def tags(self) -> dict[str, str]:
        """What other evaluators call the record by."""
        return {
            "object_name": self.object_name,
            "ann_id": self.ann_id,
            **({"task": self.task} if self.task else {}),
        }


def _described(records: Sequence[Description]) -> list[tuple[str, str, str]]:
    return [(item.scene_id, str(item.object_id), item.object_name) for item in records]


def _official_tags(records: Sequence[Description], label_map: LabelMap) -> list[dict[str, str]]:
    kinds = unique_or_multiple(_described(records), label_map.official_class)
    return [
        {
            "official_type": kind,
            "official_others": str(label_map.official_class(record.object_name) == OTHERS),
        }
        for record, kind in zip(records, kinds, strict=True)
    ]


def read_scanrefer(
    parsed: Parsed, files: AnnotationFiles, prompts: PromptConfig, split: str
) -> list[Sample]:
    """One sample per description, in file order.

    unique or multiple is as the file says, else by the label table, else by object names.
    """
    [(path, values)] = parsed
    records = parse_records(values, Description, path)
    refuse_repeats((record.key for record in records), path)
    label_map = files.label_map
    if label_map:
        _refuse_strange_names(records, label_map, path)
    types = unique_or_multiple(_described(records), label_map.nyu40_class if label_map else str)
    official = _official_tags(records, label_map) if label_map else [{} for _ in records]
    return [
        Sample(
            sample_id=f"{NAME}_{record.key}",
            benchmark=NAME,
            scene_id=record.scene_id,
            kind="ground",
            prompt=prompts.render(NAME, split, description=prompts.describe(record.description)),
            target_ids=(record.object_id,),
            target_boxes=(
                target_box(
                    record.bbox, files.objects, record.scene_id, record.object_id, path, index
                ),
            ),
            question_type=record.eval_type or types[index],
            tags=record.tags | official[index] | _how_typed(record, label_map),
        )
        for index, record in enumerate(records)
    ]


def _refuse_strange_names(records: Sequence[Description], label_map: LabelMap, path: Path) -> None:
    """A table that has none of the names is another data set's: every object would be "others"."""
    if not any(label_map.knows(record.object_name) for record in records):
        reason = (
            f"{records[0].object_name!r} is not in the label table, and neither is any other name "
            "of this file; is it scannetv2-labels.combined.tsv?"
        )
        raise AnnotationError(path, 0, "object_name", reason)


def _how_typed(record: Description, label_map: LabelMap | None) -> dict[str, str]:
    """A tag where unique / multiple does not come from a class of the label table."""
    if record.eval_type:
        return {}
    if label_map is None:
        return {"typed_by": "object name"}
    return {} if label_map.knows(record.object_name) else {"typed_by": "no class"}


def chosen_box(prediction: Prediction | None) -> tuple[float, ...] | None:
    """The box an answer stands for: the best scored one, or the only one.

    Raises:
        AnnotationError: there are several, and no scores to choose by.
    """
    if prediction is None or not prediction.boxes:
        return None
    if not prediction.scores:
        if len(prediction.boxes) > 1:
            reason = f"{len(prediction.boxes)} boxes without scores; one box is the answer"
            raise AnnotationError("predictions", prediction.sample_id, "boxes", reason)
        return prediction.boxes[0]
    best = best_candidate(prediction.scores)
    return None if best is None else prediction.boxes[best]


def evaluate_scanrefer(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    protocol: str,
    text_metrics: Sequence[str] = (),
) -> Evaluation:
    """Share of samples whose chosen box overlaps the target enough.

    Chance is a uniform draw among the candidates, where predictions bring scored candidates.
    """
    paired = pair_predictions(samples, predictions)
    rule = M3DREF_CLIP if protocol == "m3dref" else DOUBLE
    overlaps = _overlaps(samples, paired, rule)
    chance = _chance(samples, paired, rule)
    official = protocol == "official"
    groups = official_groups(samples) if official else groups_of(samples, TYPES)
    tally = Tally(NAME, protocol, samples, groups)
    tally.warnings += _type_warnings(samples, official)
    given = np.array([item is not None for item in paired], dtype=bool)
    for column, threshold in enumerate(THRESHOLDS):
        tally.add(
            f"acc@{threshold:g}",
            overlaps >= threshold,
            chance=chance[:, column],
            within=given if official else None,
        )
    return tally.evaluation(paired, LEFT_OUT) if official else tally.evaluation(paired)


def _type_warnings(samples: Sequence[Sample], official: bool) -> list[str]:
    """Say it where unique / multiple is not what the protocol means."""
    cure = "give scannetv2-labels.combined.tsv as --label-map"
    if official and any("official_type" not in sample.tags for sample in samples):
        return [f"unique / multiple is not by the 17 classes of this protocol; {cure}"]
    typed_by = Counter(sample.tags.get("typed_by") for sample in samples)
    if not official and typed_by["object name"]:
        return [f"unique / multiple is by object names, not by their classes; {cure}"]
    if typed_by["no class"]:
        unnamed = f"{typed_by['no class']} of {len(samples)} descriptions"
        return [f'{unnamed} name an object that the label table lacks; it counts as "others"']
    return []


def _overlaps(
    samples: Sequence[Sample], paired: Sequence[Prediction | None], rule: IouRule
) -> NDArray[np.float64]:
    chosen = {row: box for row, item in enumerate(paired) if (box := chosen_box(item)) is not None}
    overlaps = np.zeros(len(samples))
    truth = [samples[row].target_boxes[0] for row in chosen]
    overlaps[list(chosen)] = paired_iou(list(chosen.values()), truth, rule)
    return overlaps


def _chance(
    samples: Sequence[Sample], paired: Sequence[Prediction | None], rule: IouRule
) -> NDArray[np.float64]:
    chance = np.full((len(samples), len(THRESHOLDS)), np.nan)
    for row, (sample, item) in enumerate(zip(samples, paired, strict=True)):
        if item is not None and item.scores and item.boxes:
            candidates = iou_matrix(item.boxes, sample.target_boxes, rule)[:, 0]
            chance[row] = [(candidates >= threshold).mean() for threshold in THRESHOLDS]
    return chance


def official_groups(samples: Sequence[Sample]) -> dict[str, Mask]:
    """unique, multiple, and each of them and the whole with and without class "others".

    The official classes come from a label table, or from the flags of a benchmark list.
    """
    kind = np.array([item.tags.get("official_type", item.question_type) for item in samples])
    groups: dict[str, Mask] = {name: kind == name for name in TYPES}
    known = np.array([item.tags.get("official_others", "") for item in samples])
    whole = np.ones(len(samples), dtype=bool)
    for name, mask in (*list(groups.items()), ("overall", whole)):
        for label, flag in (("not_in_others", "False"), ("in_others", "True")):
            if (known == flag).any():
                groups[f"{name}_{label}"] = mask & (known == flag)
    return groups


def locate_scanrefer(folder: AnnotationFolder, split: str) -> AnnotationFiles:
    """The split's file in a folder."""
    path = folder.annotations(f"ScanRefer_filtered_{split}.json")
    return AnnotationFiles((path,), folder.objects(), label_map=folder.label_map)


SCANREFER = BenchmarkKind(
    NAME,
    PROTOCOLS,
    locate_scanrefer,
    read_scanrefer,
    evaluate_scanrefer,
    takes=("boxes", "scores"),
    types=TYPES,
    uses_boxes=True,
    uses_label_map=True,
)
