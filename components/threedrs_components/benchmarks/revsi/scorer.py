"""ReVSI's scorer: accuracy of choices, relative accuracy of numbers, mean of seven tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from threedrs_components.benchmarks.clip_scores import NestedMeans, answer_values, first_number
from threedrs_components.benchmarks.revsi.questions import NUMERIC, TASKS
from threedrs_components.benchmarks.scorer import Scorer
from threedrs_components.benchmarks.tally import Evaluation, Tally, pair_predictions
from threedrs_components.benchmarks.unread_choices import say_unread_choices
from threedrs_platform.records import Prediction, Sample


class ReVSIScorer(Scorer):
    """Scores ReVSI as lmms-eval does."""

    kind: Literal["revsi"] = "revsi"

    def evaluate(self, samples: Sequence[Sample], predictions: Sequence[Prediction]) -> Evaluation:
        """The mean of each task over its kinds, and of the tasks; of a kind that is not there a
        warning tells. A missing prediction scores 0."""
        paired = pair_predictions(samples, predictions)
        values = answer_values(samples, paired, NUMERIC)
        means = NestedMeans(self.kind, samples, values, TASKS, NUMERIC)
        tally = Tally(self.kind, self.protocol, samples)
        means.fill(tally)
        absent = [kind for kinds in TASKS.values() for kind in kinds if kind not in means.rows]
        if absent:
            tally.warnings.append(f"no questions of {', '.join(absent)}: the means are without")
        say_unread_choices(tally, paired, NUMERIC, first_number)
        return tally.evaluation(paired)
