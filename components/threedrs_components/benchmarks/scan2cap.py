"""Scan2Cap: describe the object in a given box. Caption scores, gated by the box at IoU 0.5."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from threedrs_components.benchmarks.annotations import (
    Box,
    parse_records,
    read_json,
    refuse_repeats,
)
from threedrs_components.benchmarks.boxes import AnnotationFolder
from threedrs_components.benchmarks.captions import CaptionScores, best_constants
from threedrs_components.benchmarks.micro_captions import is_micro, part_scores
from threedrs_components.benchmarks.prompts import PromptConfig
from threedrs_components.benchmarks.scanrefer import Description
from threedrs_components.benchmarks.tally import Tally, pair_predictions
from threedrs_components.metrics.iou import iou_matrix
from threedrs_platform.records import Metric, Prediction, Sample, SampleScore

NAME = "scan2cap"
PROMPT_IOU = 0.5
"""A proposal must overlap the object this much to be its prompt box."""
PROPOSALS_USED = 50
"""Of each scene; the released files hold no more."""


def prompt_box(proposals: Sequence[Box], target: Sequence[float]) -> Box | None:
    """The proposal that overlaps the object most, if by at least 0.5; first on ties."""
    if not proposals:
        return None
    overlaps = iou_matrix(proposals[:PROPOSALS_USED], [target])[:, 0]
    best = int(np.argmax(overlaps))
    return proposals[best] if overlaps[best] >= PROMPT_IOU else None


@dataclass(frozen=True)
class Scan2Cap:
    """Dense captioning: the box is given, the sentence is wanted."""

    folder: AnnotationFolder
    prompts: PromptConfig = field(default_factory=PromptConfig)
    prompt_boxes: Literal["proposals", "objects"] = "proposals"
    """Outside training: the best proposal (the benchmark's rule), or the object's own box."""

    def samples(self, split: str) -> list[Sample]:
        """One sample per described object; of the training split one per description.

        Raises:
            AnnotationError: a faulty record, an unknown scene or object, an id twice.
        """
        own = self.folder.annotations(f"Scan2Cap_{split}.json")
        shared = self.folder.annotations(f"ScanRefer_filtered_{split}.json")
        path = own if own.is_file() or not shared.is_file() else shared
        records = parse_records(read_json(path), Description, path)
        refuse_repeats((record.sample_id for record in records), path)
        boxes = self.folder.objects()
        located = [
            (record, boxes.of(record.scene_id, record.object_id, path, index))
            for index, record in enumerate(records)
        ]
        if split == "train":
            return [self._training_sample(record, box) for record, box in located]
        return self._evaluation_samples(split, located)

    def _training_sample(self, record: Description, box: Box) -> Sample:
        return Sample(
            sample_id=f"{NAME}_{record.scene_id}_{record.object_id}_{record.ann_id}",
            benchmark=NAME,
            scene_id=record.scene_id,
            kind="text",
            prompt=self.prompts.render(NAME, "train"),
            answers=(self.prompts.describe(record.description),),
            target_ids=(record.object_id,),
            target_boxes=(box,),
            box_input=box,
            tags=_tags(record),
        )

    def _evaluation_samples(
        self, split: str, located: Sequence[tuple[Description, Box]]
    ) -> list[Sample]:
        proposals = self.folder.proposals(split) if self.prompt_boxes == "proposals" else {}
        by_object: dict[tuple[str, int, str], list[str]] = defaultdict(list)
        first: dict[tuple[str, int, str], tuple[Description, Box]] = {}
        for record, box in located:
            key = (record.scene_id, record.object_id, record.object_name)
            by_object[key].append(record.description)
            first.setdefault(key, (record, box))
        return [
            Sample(
                sample_id=f"{NAME}_{scene}_{number}_{name.replace(' ', '_')}",
                benchmark=NAME,
                scene_id=scene,
                kind="text",
                prompt=self.prompts.render(NAME, split),
                answers=tuple(by_object[scene, number, name]),
                target_ids=(number,),
                target_boxes=(first[scene, number, name][1],),
                box_input=self._prompt_box(proposals, scene, first[scene, number, name][1]),
                tags=_tags(first[scene, number, name][0]),
            )
            for scene, number, name in by_object
        ]

    def _prompt_box(
        self, proposals: Mapping[str, tuple[Box, ...]], scene: str, target: Box
    ) -> Box | None:
        if self.prompt_boxes == "objects":
            return target
        return prompt_box(proposals.get(scene, ()), target)

    def score(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction]
    ) -> tuple[list[Metric], list[SampleScore]]:
        """cider@0.5 and bleu4@0.5; for micro captions also the two shares of correct parts."""
        return score_scan2cap(samples, predictions)


def _tags(record: Description) -> dict[str, str]:
    task = {"task": record.task} if record.task else {}
    return {"object_name": record.object_name, "ann_id": record.ann_id, **task}


def framed(text: str) -> str:
    """A caption as 3DRS compares it: dots and commas apart, lower case, between "sos" and "eos"."""
    return ("sos " + text.replace(".", " . ").replace(",", " , ")).lower() + " eos"


def gate(sample: Sample, prediction: Prediction | None) -> bool:
    """Whether the caption is about the right object: its box overlaps the target by 0.5 or more.

    The box is the prediction's, else the sample's prompt box. A sample without a known target
    cannot be judged and passes: its producer has applied the rule.
    """
    if prediction is None:
        return False
    if not sample.target_boxes:
        return True
    boxes = prediction.boxes or ((sample.box_input,) if sample.box_input else ())
    return bool(boxes) and bool(iou_matrix(boxes[:1], sample.target_boxes)[0, 0] >= PROMPT_IOU)


def score_scan2cap(
    samples: Sequence[Sample], predictions: Sequence[Prediction]
) -> tuple[list[Metric], list[SampleScore]]:
    """Captions against all descriptions of the object; without a box they count as empty."""
    paired = pair_predictions(samples, predictions)
    located = [gate(sample, item) for sample, item in zip(samples, paired, strict=True)]
    texts = [
        (item.text or "") if item is not None and at_box else ""
        for item, at_box in zip(paired, located, strict=True)
    ]
    tally = Tally(NAME, samples)
    answerable = [bool(sample.box_input) or not sample.target_boxes for sample in samples]
    references = [[framed(text) for text in sample.answers] for sample in samples]
    scores = CaptionScores(references)
    frequencies = Counter(text for texts in references for text in texts)
    constants = best_constants(scores, frequencies, answerable, empty=framed(""))
    scores.report(tally, [framed(text) for text in texts], constants, "@0.5")
    _add_micro_parts(tally, texts, answerable)
    tally.add_missing(paired)
    return tally.metrics, tally.scores


def _add_micro_parts(tally: Tally, texts: Sequence[str], answerable: Sequence[bool]) -> None:
    references = [sample.answers for sample in tally.samples]
    if not is_micro(references):
        return
    for part in ("direction", "colour_category"):
        scores = part_scores(part, texts, references, answerable)
        tally.add(f"{part}@0.5", scores.values, chance=scores.chance, majority=scores.majority)
