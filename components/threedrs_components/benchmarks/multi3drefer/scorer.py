"""Multi3DRefer's scorer: F1 of two sets of boxes at two IoUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from threedrs_components.benchmarks.multi3drefer.loader import TYPES
from threedrs_components.benchmarks.scorer import Scorer
from threedrs_components.benchmarks.tally import Evaluation, Tally, groups_of, pair_predictions
from threedrs_components.benchmarks.unread import say_odd_boxes
from threedrs_components.metrics.grounding import box_set_f1, select_boxes
from threedrs_components.metrics.iou import DOUBLE, M3DREF_CLIP, IouRule, iou_matrix
from threedrs_platform.records import Prediction, Sample

THRESHOLDS = (0.25, 0.5)


class Multi3DReferScorer(Scorer):
    """Scores Multi3DRefer."""

    kind: Literal["multi3drefer"] = "multi3drefer"

    def evaluate(self, samples: Sequence[Sample], predictions: Sequence[Prediction]) -> Evaluation:
        """Mean F1 over descriptions; a missing prediction scores 0.

        Chance is one uniform draw among the candidates and "no object", where scores are given.
        """
        paired = pair_predictions(samples, predictions)
        rule = M3DREF_CLIP if self.protocol == "m3dref" else DOUBLE
        values = np.zeros((len(samples), len(THRESHOLDS)))
        chance = np.full_like(values, np.nan)
        chosen = [self.chosen_boxes(item) if item else () for item in paired]
        for row, (sample, prediction) in enumerate(zip(samples, paired, strict=True)):
            if prediction is None:
                continue
            truth = _truth(sample, self.protocol)
            values[row] = box_set_f1(chosen[row], truth, THRESHOLDS, rule)
            if prediction.scores:
                chance[row] = _chance(prediction, truth, rule)
        tally = Tally(self.kind, self.protocol, samples, groups_of(samples, TYPES))
        say_odd_boxes(tally, samples, chosen)
        for column, threshold in enumerate(THRESHOLDS):
            tally.add(f"f1@{threshold:g}", values[:, column], chance=chance[:, column])
        return tally.evaluation(paired)

    @staticmethod
    def chosen_boxes(prediction: Prediction) -> tuple[tuple[float, ...], ...]:
        """Those selected by score where scores are given, else all."""
        if not prediction.scores:
            return prediction.boxes
        return tuple(prediction.boxes[index] for index in select_boxes(prediction.scores))


def _truth(sample: Sample, protocol: str) -> tuple[tuple[float, ...], ...]:
    """The true boxes as the protocol sees them."""
    if protocol != "m3dref":
        return sample.target_boxes
    if sample.question_type.startswith("zt"):
        return ()
    if len(sample.target_ids) != len(sample.target_boxes):
        return sample.target_boxes
    # M3DRef-CLIP looks objects up by id, so an id named twice is one box.
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
