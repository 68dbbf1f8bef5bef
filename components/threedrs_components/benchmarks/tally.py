"""From per-sample values to metrics: pairing with predictions, groups, chance, intervals."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from threedrs_components.metrics.uncertainty import bootstrap_mean
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Metric, Prediction, Sample, SampleScore

Mask = NDArray[np.bool_]
POOLED_TASKS: Mapping[str, tuple[str, ...]] = {
    "position": ("g_lm", "g_dir"),
    "attribute": ("g_attr",),
}
"""Micro-world tasks reported together: what needs only position, and what needs none."""


def pair_predictions(
    samples: Sequence[Sample], predictions: Iterable[Prediction], source: str = "predictions"
) -> list[Prediction | None]:
    """The prediction of each sample, None where there is none.

    Raises:
        AnnotationError: an id is predicted twice, or belongs to none of the samples.
    """
    known = {sample.sample_id for sample in samples}
    if len(known) != len(samples):
        repeated = Counter(sample.sample_id for sample in samples).most_common(1)[0][0]
        raise AnnotationError("samples", repeated, "id", "occurs twice; sample ids must be unique")
    by_id: dict[str, Prediction] = {}
    for index, prediction in enumerate(predictions):
        if prediction.sample_id not in known:
            reason = (
                f"unknown id {prediction.sample_id!r}: no such sample among the {len(known)} of "
                f"these annotations (their ids look like {min(known, default='-')!r})"
            )
            raise AnnotationError(source, index, "id", reason)
        if prediction.sample_id in by_id:
            reason = f"{prediction.sample_id!r} is predicted twice; one prediction per sample"
            raise AnnotationError(source, index, "id", reason)
        by_id[prediction.sample_id] = prediction
    return [by_id.get(sample.sample_id) for sample in samples]


def groups_of(samples: Sequence[Sample], types: Iterable[str] = ()) -> dict[str, Mask]:
    """Masks of the sub-sets reported beside the whole: question types, tasks and pooled tasks.

    Args:
        samples: the evaluated samples.
        types: question types in the order to report them; others follow in order of appearance.
    """
    members: dict[str, list[int]] = {name: [] for name in types}
    for index, sample in enumerate(samples):
        labels = {sample.question_type, sample.tags.get("task", "")} - {""}
        for label in sorted(labels):
            members.setdefault(label, []).append(index)
    for pooled, tasks in POOLED_TASKS.items():
        rows = sorted(row for task in tasks for row in members.get(task, []))
        if rows:
            members[pooled] = rows
    masks = {}
    for name, rows in members.items():
        if rows:
            masks[name] = np.zeros(len(samples), dtype=bool)
            masks[name][rows] = True
    return masks


@dataclass
class Tally:
    """Collects the metrics of one evaluation; shares in [0, 1] are reported in percent."""

    benchmark: str
    samples: Sequence[Sample]
    groups: Mapping[str, Mask] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    scores: list[SampleScore] = field(default_factory=list)

    def add(
        self,
        name: str,
        values: ArrayLike,
        *,
        chance: ArrayLike | None = None,
        majority: ArrayLike | None = None,
        within: Mask | None = None,
        grouped: bool = True,
    ) -> None:
        """Record a per-sample metric: its mean, the mean of each group, and the rows themselves.

        Args:
            name: metric name without the benchmark.
            values: [N] per sample, in [0, 1] (CIDEr may exceed it).
            chance: [N] expected value of a random answer; NaN where unknown.
            majority: [N] value of the most frequent answer.
            within: [N] samples the metric is about; all by default.
            grouped: also per group.
        """
        columns = _Columns(
            np.asarray(values, dtype=np.float64),
            None if chance is None else np.asarray(chance, dtype=np.float64),
            None if majority is None else np.asarray(majority, dtype=np.float64),
        )
        everyone = np.ones(len(self.samples), dtype=bool) if within is None else within
        full = f"{self.benchmark}/{name}"
        self._add_subset(full, columns, everyone, keep_rows=True)
        for group, mask in self.groups.items() if grouped else ():
            if (mask & everyone).any():
                keep = group in POOLED_TASKS
                self._add_subset(f"{full}/{group}", columns, mask & everyone, keep_rows=keep)

    def _add_subset(self, name: str, columns: _Columns, mask: Mask, keep_rows: bool) -> None:
        values = columns.values[mask]
        if not values.size:
            return
        interval = bootstrap_mean(values)
        self.metrics.append(
            Metric(
                name=name,
                value=100 * float(values.mean()),
                n=int(values.size),
                chance=_percent(columns.chance, mask),
                majority=_percent(columns.majority, mask),
                ci95=None if interval is None else (100 * interval[0], 100 * interval[1]),
            )
        )
        if keep_rows:
            self.scores.extend(
                SampleScore(name, self.samples[row].sample_id, self.samples[row].scene_id, value)
                for row, value in zip(
                    np.flatnonzero(mask).tolist(), (100 * values).tolist(), strict=True
                )
            )

    def add_corpus(
        self,
        name: str,
        value: float,
        interval: tuple[float, float] | None,
        majority: float | None = None,
    ) -> None:
        """Record a metric of the whole set that is no mean of per-sample values."""
        self.metrics.append(
            Metric(
                name=f"{self.benchmark}/{name}",
                value=100 * value,
                n=len(self.samples),
                majority=None if majority is None else 100 * majority,
                ci95=None if interval is None else (100 * interval[0], 100 * interval[1]),
            )
        )

    def add_missing(self, predictions: Sequence[Prediction | None]) -> None:
        """Record how many samples have no prediction; each of them counted as wrong."""
        missing = sum(prediction is None for prediction in predictions)
        self.metrics.append(
            Metric(f"{self.benchmark}/missing", missing, len(predictions), unit="samples")
        )


@dataclass(frozen=True)
class _Columns:
    values: NDArray[np.float64]
    chance: NDArray[np.float64] | None
    majority: NDArray[np.float64] | None


def _percent(column: NDArray[np.float64] | None, mask: Mask) -> float | None:
    if column is None:
        return None
    known = column[mask & ~np.isnan(column)]
    return 100 * float(known.mean()) if known.size else None


@dataclass(frozen=True)
class AnswerBaselines:
    """What a guesser who knows only the question type would score, per sample [N]."""

    chance: NDArray[np.float64]
    """A uniform guess among the distinct first answers of the sample's type."""
    majority: NDArray[np.float64]
    """The most frequent answer of the sample's type."""


def answer_baselines(samples: Sequence[Sample]) -> AnswerBaselines:
    """Exact-match baselines from the reference answers of the evaluated samples."""
    by_type: dict[str, list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        by_type[sample.question_type].append(index)
    chance, majority = np.zeros(len(samples)), np.zeros(len(samples))
    for rows in by_type.values():
        first = Counter(samples[row].answers[0] for row in rows if samples[row].answers)
        counts = Counter(answer for row in rows for answer in set(samples[row].answers))
        top = min(counts, key=lambda answer: (-counts[answer], answer), default=None)
        for row in rows:
            answers: set[Any] = set(samples[row].answers)
            chance[row] = len(answers & first.keys()) / len(first) if first else 0.0
            majority[row] = float(top in answers)
    return AnswerBaselines(chance, majority)
