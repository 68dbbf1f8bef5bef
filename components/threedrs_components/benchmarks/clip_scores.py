"""Scores of questions about clips: of letters, of numbers, and their means over types and tasks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threedrs_components.benchmarks.option_letters import option_letters
from threedrs_components.benchmarks.tally import Tally
from threedrs_components.metrics.relative_accuracy import (
    as_number,
    first_word,
    mean_relative_accuracy,
)
from threedrs_components.metrics.uncertainty import percentile_interval, resampled_sums
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Metric, Prediction, Sample, SampleScore


def first_number(text: str) -> float:
    """The number before the first space; NaN for none."""
    return as_number(first_word(text))


def answer_value(
    text: str,
    sample: Sample,
    numeric: Collection[str],
    number: Callable[[str], float] = first_number,
) -> float:
    """Score of one answer in [0, 1].

    Args:
        text: the answer.
        sample: its question.
        numeric: types of question that ask for a number.
        number: finds it in a text; NaN for none.
    """
    truth = sample.answers[0]
    if sample.question_type not in numeric:
        return float(first_word(text).lower() == truth.lower())
    return mean_relative_accuracy(number(text), as_number(truth))


def answer_values(
    samples: Sequence[Sample],
    paired: Sequence[Prediction | None],
    numeric: Collection[str],
    number: Callable[[str], float] = first_number,
) -> NDArray[np.float64]:
    """Scores [N] of the answers to some questions, 0 where there is none."""
    return np.array(
        [
            0.0 if item is None else answer_value(item.text or "", sample, numeric, number)
            for item, sample in zip(paired, samples, strict=True)
        ]
    )


class NestedMeans:
    """Values per question, and their means over types of question, tasks, and all tasks."""

    def __init__(
        self,
        benchmark: str,
        samples: Sequence[Sample],
        values: NDArray[np.float64],
        tasks: Mapping[str, Sequence[str]],
        numeric: Collection[str],
    ) -> None:
        """Group the questions.

        Args:
            benchmark: how metrics are called.
            samples: the questions.
            values: [N] score of each in [0, 1].
            tasks: types of question by task; those of which there is no question are left out.
            numeric: types that ask for a number.

        Raises:
            AnnotationError: a question is of no type, or does not say how many options it has.
        """
        self.benchmark, self.samples, self.values = benchmark, samples, values
        rows: dict[str, list[int]] = defaultdict(list)
        known = {kind for kinds in tasks.values() for kind in kinds}
        for row, sample in enumerate(samples):
            if sample.question_type not in known:
                reason = f"is {sample.question_type!r}; {benchmark} has {', '.join(sorted(known))}"
                raise AnnotationError("annotations", row, "question_type", reason)
            rows[sample.question_type].append(row)
        self.rows: Mapping[str, Sequence[int]] = dict(rows)
        there = {task: [kind for kind in kinds if kind in rows] for task, kinds in tasks.items()}
        self.tasks = {task: kinds for task, kinds in there.items() if kinds}
        self._draws = {kind: _resampled_means(values[found]) for kind, found in rows.items()}
        self._majority = {kind: _majority(samples, at, numeric) for kind, at in rows.items()}
        self._chance = {kind: _chance(samples, at, numeric) for kind, at in rows.items()}

    def fill(self, tally: Tally) -> None:
        """Put the scores, and the means of types, tasks and all, into a tally."""
        tally.scores = [
            SampleScore(f"{self.benchmark}/average", each.sample_id, each.scene_id, 100 * value)
            for each, value in zip(self.samples, self.values.tolist(), strict=True)
        ]
        for task, kinds in self.tasks.items():
            tally.per_type[task] = {"average": self.metric(f"/{task}", [kinds])}
            for kind in kinds if len(kinds) > 1 else ():
                tally.per_type[kind] = {"average": self.metric(f"/{kind}", [[kind]])}
        tally.metrics["average"] = self.average()

    def average(self, suffix: str = "") -> Metric:
        """The mean of all tasks."""
        return self.metric(suffix, list(self.tasks.values()))

    def metric(self, suffix: str, tasks: Sequence[Sequence[str]]) -> Metric:
        """Mean over tasks of the means over their types."""
        means = {kind: self.values[list(at)].mean() for kind, at in self.rows.items()}
        low, high = percentile_interval(_nested(self._draws, tasks))
        chance = [self._chance[kind] for kinds in tasks for kind in kinds]
        return Metric(
            name=f"{self.benchmark}/average{suffix}",
            value=100 * self.rounded(float(_nested(means, tasks))),
            n=sum(len(self.rows[kind]) for kinds in tasks for kind in kinds),
            chance=None if None in chance else 100 * float(_nested(self._chance, tasks)),
            majority=100 * float(_nested(self._majority, tasks)),
            ci95=(100 * low, 100 * high),
        )

    def rounded(self, mean: float) -> float:
        """A mean with as many digits as the protocol keeps: all."""
        return mean


def _nested(by_kind: Mapping[str, Any], tasks: Sequence[Sequence[str]]) -> Any:
    return np.mean([np.mean([by_kind[kind] for kind in kinds], axis=0) for kinds in tasks], axis=0)


def _resampled_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means [R] of questions of one type, drawn with replacement."""
    sums = resampled_sums(values[:, None])
    means: NDArray[np.float64] = sums[:, 0] / values.size
    return means


def _majority(samples: Sequence[Sample], rows: Sequence[int], numeric: Collection[str]) -> float:
    """Score of always giving the most frequent true answer of this type of question."""
    counts = Counter(samples[row].answers[0] for row in rows)
    top = min(counts, key=lambda answer: (-counts[answer], answer))
    return float(np.mean([answer_value(top, samples[row], numeric) for row in rows]))


def _chance(
    samples: Sequence[Sample], rows: Sequence[int], numeric: Collection[str]
) -> float | None:
    """One out of the options; unknown for numbers."""
    if samples[rows[0]].question_type in numeric:
        return None
    return float(np.mean([1 / len(option_letters(samples[row], row)) for row in rows]))
