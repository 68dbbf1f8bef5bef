"""SQA3D's scorer: exact match after cleaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from threedrs_components.benchmarks.baselines import answer_baselines
from threedrs_components.benchmarks.scorer import Scorer
from threedrs_components.benchmarks.sqa3d.loader import TYPES
from threedrs_components.benchmarks.tally import Evaluation, Tally, groups_of, pair_predictions
from threedrs_components.benchmarks.unread import say_marks
from threedrs_components.metrics.answer_cleaning import clean_answer
from threedrs_components.metrics.exact_match import (
    chat_scene_answer,
    chat_scene_match,
    exact_and_refined,
    leo_match,
)
from threedrs_platform.records import Prediction, Sample


class SQA3DScorer(Scorer):
    """Scores SQA3D."""

    kind: Literal["sqa3d"] = "sqa3d"

    def evaluate(self, samples: Sequence[Sample], predictions: Sequence[Prediction]) -> Evaluation:
        """em and em_refined per question type and over all samples."""
        paired = pair_predictions(samples, predictions)
        matches = [
            _match(item.text or "", sample, self.protocol) if item is not None else (0.0, 0.0)
            for item, sample in zip(paired, samples, strict=True)
        ]
        references = [[clean_answer(text) for text in sample.answers] for sample in samples]
        baselines = answer_baselines(samples, references)
        tally = Tally(self.kind, self.protocol, samples, groups_of(samples, TYPES))
        say_marks(tally, paired)
        exact, refined = exact_and_refined(matches)
        tally.add("em", exact, chance=baselines.chance, majority=baselines.majority)
        if self.protocol != "3drs":
            tally.add("em_refined", refined)
        return tally.evaluation(paired)


def _match(text: str, sample: Sample, protocol: str) -> tuple[float, float]:
    references = [clean_answer(answer) for answer in sample.answers]
    if protocol == "chat_scene":  # takes the final dot off its answers, not off the references
        return chat_scene_match(clean_answer(chat_scene_answer(text)), references)
    return leo_match(clean_answer(text), references)
