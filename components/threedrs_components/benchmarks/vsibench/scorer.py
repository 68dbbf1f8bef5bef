"""VSI-Bench's scorer: accuracy of choices, relative accuracy of numbers, mean of the tasks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from threedrs_components.benchmarks.scorer import Scorer
from threedrs_components.benchmarks.tally import Evaluation, Tally, pair_predictions
from threedrs_components.benchmarks.unread_choices import say_unread_choices
from threedrs_components.benchmarks.vsibench.questions import DIRECTIONS, NUMERIC, TASK_OF, TASKS
from threedrs_components.metrics.relative_accuracy import (
    as_number,
    first_word,
    mean_relative_accuracy,
    number_in_text,
)
from threedrs_components.metrics.uncertainty import percentile_interval, resampled_sums
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Metric, Prediction, Sample, SampleScore

SOURCES = ("arkitscenes", "scannet", "scannetpp")
"""Data sets whose videos VSI-Bench asks about."""


class VSIBenchScorer(Scorer):
    """Scores VSI-Bench."""

    kind: Literal["vsibench"] = "vsibench"

    def evaluate(self, samples: Sequence[Sample], predictions: Sequence[Prediction]) -> Evaluation:
        """The mean of each task, and the average of the tasks; a missing prediction scores 0.

        Relative direction is the mean of its three levels, not of its questions. Where questions
        come from several data sets, each has its average and its missing answers, too.
        """
        paired = pair_predictions(samples, predictions)
        values = _values(samples, paired, self.protocol)
        answered = _Answered(self.kind, samples, values, self.protocol)
        if self.protocol == "lmms_eval":
            answered.need_all_directions()
        tally = Tally(self.kind, self.protocol, samples)
        tally.warnings += answered.warnings()
        tally.scores = [
            SampleScore(f"{self.kind}/average", sample.sample_id, sample.scene_id, 100 * value)
            for sample, value in zip(samples, values.tolist(), strict=True)
        ]
        for task, kinds in answered.tasks.items():
            tally.per_type[task] = {"average": answered.metric(f"/{task}", [kinds])}
            for kind in kinds if len(kinds) > 1 else ():
                tally.per_type[kind] = {"average": answered.metric(f"/{kind}", [[kind]])}
        tally.metrics["average"] = answered.metric("", list(answered.tasks.values()))
        self._add_sources(tally, paired, values)
        say_unread_choices(tally, paired, NUMERIC, partial(_number, protocol=self.protocol))
        return tally.evaluation(paired)

    def _add_sources(
        self, tally: Tally, paired: Sequence[Prediction | None], values: NDArray[np.float64]
    ) -> None:
        rows: dict[str, list[int]] = defaultdict(list)
        for row, sample in enumerate(tally.samples):
            rows[sample.tags.get("dataset") or "unnamed"].append(row)
        tally.warnings += _absent_sources(rows)
        for source, found in rows.items() if len(rows) > 1 else ():
            own = [tally.samples[row] for row in found]
            answered = _Answered(self.kind, own, values[found], self.protocol)
            missing = sum(paired[row] is None for row in found)
            tally.per_type[source] = {
                "average": answered.metric(f"/{source}", list(answered.tasks.values())),
                "missing": Metric(
                    f"{self.kind}/missing/{source}", missing, len(found), unit="samples"
                ),
            }
            if missing == len(found) and any(paired):
                tally.warnings.append(
                    f"no question of {source} has a prediction; its {missing} count as wrong in "
                    "the average, see the averages by source"
                )


def _absent_sources(given: Collection[str]) -> list[str]:
    """Say it where only some of the data sets of VSI-Bench are asked about."""
    absent = [name for name in SOURCES if name not in given]
    if not absent or len(absent) == len(SOURCES):
        return []
    return [f"no question is about {' or '.join(absent)}: the average is not that of VSI-Bench"]


def _number(text: str, protocol: str) -> float:
    return as_number(first_word(text)) if protocol == "official" else number_in_text(text)


def answer_value(text: str, sample: Sample, protocol: str) -> float:
    """Score of one answer in [0, 1]."""
    truth = sample.answers[0]
    if sample.question_type not in NUMERIC:
        return float(first_word(text).lower() == truth.lower())
    return mean_relative_accuracy(_number(text, protocol), as_number(truth))


def _values(
    samples: Sequence[Sample], paired: Sequence[Prediction | None], protocol: str
) -> NDArray[np.float64]:
    return np.array(
        [
            0.0 if item is None else answer_value(item.text or "", sample, protocol)
            for item, sample in zip(paired, samples, strict=True)
        ]
    )


class _Answered:
    """Values per question, and their means over kinds of question, tasks, and all tasks."""

    def __init__(
        self, benchmark: str, samples: Sequence[Sample], values: NDArray[np.float64], protocol: str
    ) -> None:
        self._benchmark = benchmark
        self._digits = 6 if protocol == "lmms_eval" else None
        self.values = values
        rows: dict[str, list[int]] = defaultdict(list)
        for row, sample in enumerate(samples):
            rows[sample.question_type].append(row)
        self._rows = rows
        self.tasks = {
            task: [kind for kind, of in TASK_OF.items() if of == task and kind in rows]
            for task in TASKS
        }
        self.tasks = {task: kinds for task, kinds in self.tasks.items() if kinds}
        if protocol == "official" and DIRECTIONS[0] not in rows:
            # thinking-in-space joins the three levels only where it finds the first.
            joined = self.tasks.pop(TASK_OF[DIRECTIONS[0]], [])
            self.tasks |= {kind: [kind] for kind in joined}
        self._draws = {kind: _resampled_means(values[found]) for kind, found in rows.items()}
        self._majority = {kind: _majority(samples, found) for kind, found in rows.items()}
        self._chance = {kind: _chance(samples, found) for kind, found in rows.items()}

    def need_all_directions(self) -> None:
        """Newer lmms-eval cannot do without one of the three levels."""
        for kind in DIRECTIONS:
            if kind not in self._rows:
                reason = f"protocol lmms_eval needs all three direction types; there is no {kind}"
                raise AnnotationError("annotations", "-", "question_type", reason)

    def warnings(self) -> list[str]:
        """What the absence of some levels of relative direction does to the average."""
        there = [kind for kind in DIRECTIONS if kind in self._rows]
        absent = " and ".join(kind for kind in DIRECTIONS if kind not in there)
        if not there or not absent:
            return []
        if DIRECTIONS[0] not in there:
            effect = "each other level is a task of its own in the average, as in thinking-in-space"
        else:
            effect = "relative direction is the mean of those there; thinking-in-space stops here"
        return [f"there is no {absent}: {effect}"]

    def metric(self, suffix: str, tasks: Sequence[Sequence[str]]) -> Metric:
        """Mean over tasks of the means over their kinds."""
        value = _nested(
            {kind: self.values[rows].mean() for kind, rows in self._rows.items()}, tasks
        )
        low, high = percentile_interval(_nested(self._draws, tasks))
        chance = [self._chance[kind] for kinds in tasks for kind in kinds]
        return Metric(
            name=f"{self._benchmark}/average{suffix}",
            value=100
            * (float(value) if self._digits is None else round(float(value), self._digits)),
            n=sum(len(self._rows[kind]) for kinds in tasks for kind in kinds),
            chance=None if None in chance else 100 * float(_nested(self._chance, tasks)),
            majority=100 * float(_nested(self._majority, tasks)),
            ci95=(100 * low, 100 * high),
        )


def _nested(by_kind: Mapping[str, Any], tasks: Sequence[Sequence[str]]) -> Any:
    return np.mean([np.mean([by_kind[kind] for kind in kinds], axis=0) for kinds in tasks], axis=0)


def _resampled_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means [R] of questions of one kind, drawn with replacement."""
    sums = resampled_sums(values[:, None])
    means: NDArray[np.float64] = sums[:, 0] / values.size
    return means


def _majority(samples: Sequence[Sample], rows: Sequence[int]) -> float:
    """Score of always giving the most frequent true answer of this kind of question."""
    counts = Counter(samples[row].answers[0] for row in rows)
    top = min(counts, key=lambda answer: (-counts[answer], answer))
    return float(np.mean([answer_value(top, samples[row], "official") for row in rows]))


def _chance(samples: Sequence[Sample], rows: Sequence[int]) -> float | None:
    """One out of the options; unknown for numbers."""
    if samples[rows[0]].question_type in NUMERIC:
        return None
    return float(np.mean([1 / int(samples[row].tags["options"]) for row in rows]))
