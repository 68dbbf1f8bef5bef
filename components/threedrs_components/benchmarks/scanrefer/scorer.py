"""ScanRefer's scorer: accuracy at IoU 0.25 and 0.5."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from threedrs_components.benchmarks.scanrefer.description import TYPES
from threedrs_components.benchmarks.scorer import Scorer
from threedrs_components.benchmarks.tally import (
    LEFT_OUT,
    Evaluation,
    Mask,
    Tally,
    groups_of,
    pair_predictions,
    predictions_of_each,
)
from threedrs_components.benchmarks.unread import say_odd_boxes
from threedrs_components.metrics.grounding import best_candidate
from threedrs_components.metrics.iou import DOUBLE, M3DREF_CLIP, IouRule, iou_matrix, paired_iou
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Prediction, Sample

THRESHOLDS = (0.25, 0.5)


class ScanReferScorer(Scorer):
    """Scores ScanRefer."""

    kind: Literal["scanrefer"] = "scanrefer"

    def evaluate(self, samples: Sequence[Sample], predictions: Sequence[Prediction]) -> Evaluation:
        """Share of samples whose chosen box overlaps the target enough.

        Chance is a uniform draw among the candidates, where predictions bring scored candidates.
        """
        return self._judge(samples, pair_predictions(samples, predictions))

    def evaluate_rows(self, samples: Sequence[Sample], rows: Sequence[Prediction]) -> Evaluation:
        """As `evaluate`; a row that repeats one exactly is a row of its own for the official script
        and no other.

        Raises:
            AnnotationError: an id is unknown, or predicted twice and not with the same box.
        """
        official = self.protocol == "official"
        asked, paired, repeats = _rows(samples, rows, each_counts=official)
        found = self._judge(asked, paired)
        if not repeats:
            return found
        counted = "each of them counts" if official else "each counts once"
        said = f"{repeats} predictions repeat one before: {counted}"
        return replace(found, samples=len(samples), warnings=(*found.warnings, said))

    def _judge(self, samples: Sequence[Sample], paired: Sequence[Prediction | None]) -> Evaluation:
        official = self.protocol == "official"
        rule = M3DREF_CLIP if self.protocol == "m3dref" else DOUBLE
        chosen = [self.chosen_boxes(item) if item else () for item in paired]
        overlaps = _overlaps(samples, chosen, rule)
        chance = _chance(samples, paired, rule)
        groups = official_groups(samples) if official else groups_of(samples, TYPES)
        tally = Tally(self.kind, self.protocol, samples, groups)
        tally.warnings += _type_warnings(samples, official)
        say_odd_boxes(tally, samples, chosen)
        given = np.array([item is not None for item in paired], dtype=bool)
        for column, threshold in enumerate(THRESHOLDS):
            tally.add(
                f"acc@{threshold:g}",
                overlaps >= threshold,
                chance=chance[:, column],
                # The official script divides by the predictions it is given.
                within=given if official else None,
            )
        return tally.evaluation(paired, LEFT_OUT) if official else tally.evaluation(paired)

    @staticmethod
    def chosen_boxes(prediction: Prediction) -> tuple[tuple[float, ...], ...]:
        """The best scored box, or the only one.

        Raises:
            AnnotationError: there are several, and no scores to choose by.
        """
        if not prediction.scores:
            if len(prediction.boxes) > 1:
                reason = f"{len(prediction.boxes)} boxes without scores; one box is the answer"
                raise AnnotationError("predictions", prediction.sample_id, "boxes", reason)
            return prediction.boxes
        best = best_candidate(prediction.scores)
        return () if best is None else (prediction.boxes[best],)


def _type_warnings(samples: Sequence[Sample], official: bool) -> list[str]:
    """Say it where unique / multiple is not what the protocol means."""
    cure = "give scannetv2-labels.combined.tsv as --label-map"
    if official and any("official_type" not in sample.tags for sample in samples):
        return [f"unique / multiple is not by the 17 classes of this protocol; {cure}"]
    typed_by = Counter(sample.tags.get("typed_by") for sample in samples)
    named = sum("task" not in item.tags for item in samples)  # the micro world's names are classes
    if not official and typed_by["object name"] and named:
        return [f"unique / multiple is by object names, not by their classes; {cure}"]
    if typed_by["no class"]:
        unnamed = f"{typed_by['no class']} of {len(samples)} descriptions"
        return [f'{unnamed} name an object that the label table lacks; it counts as "others"']
    return []


def _rows(
    samples: Sequence[Sample], predictions: Sequence[Prediction], *, each_counts: bool
) -> tuple[list[Sample], list[Prediction | None], int]:
    """Samples and their predictions, and how many predictions repeat one before exactly.

    Raises:
        AnnotationError: as `ScanReferScorer.evaluate_rows`.
    """
    rows: list[tuple[Sample, Prediction | None]] = []
    repeats = 0
    for sample, given in zip(samples, predictions_of_each(samples, predictions), strict=True):
        for index, item in given[1:]:
            if replace(item, sample_id="") != replace(given[0][1], sample_id=""):
                reason = f"{item.sample_id!r} is predicted twice; give one prediction per sample"
                raise AnnotationError("predictions", index, "id", reason)
        repeats += len(given[1:])
        kept = given if each_counts else given[:1]
        rows += [(sample, item) for _, item in kept] or [(sample, None)]
    return [sample for sample, _ in rows], [item for _, item in rows], repeats


def _overlaps(
    samples: Sequence[Sample], chosen: Sequence[Sequence[Sequence[float]]], rule: IouRule
) -> NDArray[np.float64]:
    rows = [row for row, boxes in enumerate(chosen) if boxes]
    overlaps = np.zeros(len(samples))
    truth = [samples[row].target_boxes[0] for row in rows]
    overlaps[rows] = paired_iou([chosen[row][0] for row in rows], truth, rule)
    return overlaps


def _chance(
    samples: Sequence[Sample], paired: Sequence[Prediction | None], rule: IouRule
) -> NDArray[np.float64]:
    chance = np.full((len(samples), len(THRESHOLDS)), np.nan)
    for row, (sample, item) in enumerate(zip(samples, paired, strict=True)):
        if item is None or not item.scores:
            continue
        chance[row] = 0.0  # also where a scene has no proposal to draw from
        if item.boxes:
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
