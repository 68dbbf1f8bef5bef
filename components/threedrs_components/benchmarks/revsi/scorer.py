"""ReVSI's scorer: accuracy of choices, relative accuracy of numbers, mean of seven tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from threedrs_components.benchmarks.revsi.questions import NUMERIC, TASKS
from threedrs_components.benchmarks.scorer import Scorer
from threedrs_components.benchmarks.tally import Evaluation, Tally, pair_predictions
from threedrs_components.metrics.relative_accuracy import (
    as_number,
    first_word,
    mean_relative_accuracy,
)
from threedrs_components.metrics.uncertainty import percentile_interval, resampled_sums
from threedrs_platform.records import Metric, Prediction, Sample, SampleScore


class ReVSIScorer(Scorer):
    """Scores ReVSI as lmms-eval does."""

    kind: Literal["revsi"] = "revsi"

    def evaluate(self, samples: Sequence[Sample], predictions: Sequence[Prediction]) -> Evaluation:
        """The mean of each task over its kinds, and of the tasks; of a kind that is not there a
        warning tells. A missing prediction scores 0."""
        paired = pair_predictions(samples, predictions)
        values = np.array(
            [
                0.0 if item is None else answer_value(item.text or "", sample)
                for item, sample in zip(paired, samples, strict=True)
            ]
        )
        rows: dict[str, list[int]] = defaultdict(list)
        for row, sample in enumerate(samples):
            rows[sample.question_type].append(row)
        tally = Tally(self.kind, self.protocol, samples)
        tally.scores = [
            SampleScore(f"{self.kind}/average", sample.sample_id, sample.scene_id, 100 * value)
            for sample, value in zip(samples, values.tolist(), strict=True)
        ]
        tasks = {task: [kind for kind in kinds if kind in rows] for task, kinds in TASKS.items()}
        tasks = {task: kinds for task, kinds in tasks.items() if kinds}
        for task, kinds in tasks.items():
            tally.per_type[task] = {"average": _metric(f"/{task}", [kinds], rows, values, samples)}
            for kind in kinds if len(kinds) > 1 else ():
                one = _metric(f"/{kind}", [[kind]], rows, values, samples)
                tally.per_type[kind] = {"average": one}
        tally.metrics["average"] = _metric("", list(tasks.values()), rows, values, samples)
        absent = [kind for kinds in TASKS.values() for kind in kinds if kind not in rows]
        if absent:
            tally.warnings.append(f"no questions of {', '.join(absent)}: the means are without")
        return tally.evaluation(paired)


def answer_value(text: str, sample: Sample) -> float:
    """Score of one answer in [0, 1]."""
    answer, truth = first_word(text), sample.answers[0]
    if sample.question_type in NUMERIC:
        return mean_relative_accuracy(as_number(answer), as_number(truth))
    return float(answer.lower() == truth.lower())


def _metric(
    suffix: str,
    tasks: Sequence[Sequence[str]],
    rows: Mapping[str, Sequence[int]],
    values: NDArray[np.float64],
    samples: Sequence[Sample],
) -> Metric:
    """Mean over tasks of the means over their kinds, with what guessing an option gives."""
    kinds = [kind for task in tasks for kind in task]
    own = {kind: values[list(rows[kind])] for kind in kinds}
    draws = {kind: resampled_sums(each[:, None])[:, 0] / each.size for kind, each in own.items()}
    low, high = percentile_interval(_nested(draws, tasks))
    guessed = {
        kind: np.mean([1 / int(samples[row].tags["options"]) for row in rows[kind]])
        for kind in kinds
        if kind not in NUMERIC
    }
    return Metric(
        name=f"revsi/average{suffix}",
        value=100 * float(_nested({kind: each.mean() for kind, each in own.items()}, tasks)),
        n=sum(each.size for each in own.values()),
        chance=100 * float(_nested(guessed, tasks)) if len(guessed) == len(kinds) else None,
        ci95=(100 * low, 100 * high),
    )


def _nested(by_kind: Mapping[str, Any], tasks: Sequence[Sequence[str]]) -> Any:
    return np.mean([np.mean([by_kind[kind] for kind in task], axis=0) for task in tasks], axis=0)
