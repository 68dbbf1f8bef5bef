"""From per-sample values to metrics: pairing with predictions, groups, chance, intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from threedrs_components.benchmarks.annotations import refuse_repeats
from threedrs_components.metrics.uncertainty import bootstrap_mean
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Metric, Prediction, Sample, SampleScore

Mask = NDArray[np.bool_]
POOLED_TASKS: Mapping[str, tuple[str, ...]] = {
    "position": ("g_lm", "g_dir"),
    "attribute": ("g_attr",),
}
"""Micro-world tasks reported together: what needs only position, and what needs none."""
COUNTED_AS_WRONG = "counted as wrong"
EXAMPLES_SHOWN, LONGEST_EXAMPLE = 3, 60
LEFT_OUT = "left out of the mean, as this protocol does"


@dataclass(frozen=True)
class Unread:
    """Predictions that a protocol cannot read, or reads otherwise than they seem to be meant.

    They count as the protocol counts them; that they do is said beside the score.
    """

    reason: str
    """What is wrong with them, and what would be right."""
    count: int
    of: int
    """How many of them there could be."""
    examples: tuple[str, ...]

    @classmethod
    def among(cls, reason: str, answers: Iterable[tuple[object, bool]]) -> tuple[Unread, ...]:
        """One for those of some answers that could not be read, or none.

        Args:
            reason: see above.
            answers: each answer as it is shown, and whether it could be read.
        """
        every = list(answers)
        unread = [str(shown) for shown, could in every if not could]
        if not unread:
            return ()
        examples = tuple(_shortened(each) for each in dict.fromkeys(unread))[:EXAMPLES_SHOWN]
        return (cls(reason, len(unread), len(every), examples),)

    def __str__(self) -> str:
        shown = ", ".join(self.examples)
        return f"{self.count} of {self.of} {self.reason}, e.g. {shown}"


@dataclass(frozen=True)
class Evaluation:
    """Everything one evaluation says. Values in percent."""

    benchmark: str
    protocol: str
    metrics: Mapping[str, Metric]
    per_type: Mapping[str, Mapping[str, Metric]]
    scores: Sequence[SampleScore]
    samples: int
    missing: int
    missing_rule: str
    """What was done with samples without prediction."""
    warnings: tuple[str, ...] = ()
    unread: tuple[Unread, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What `workflows score --json` prints."""
        return {
            "benchmark": self.benchmark,
            "protocol": self.protocol,
            "metrics": {name: metric_json(item) for name, item in self.metrics.items()},
            "per_type": {
                kind: {name: metric_json(item) for name, item in group.items()}
                for kind, group in self.per_type.items()
            },
            "samples": self.samples,
            "missing": self.missing,
            "missing_rule": self.missing_rule,
            "warnings": list(self.warnings),
            "unread": [asdict(each) for each in self.unread],
        }

    def flat(self) -> tuple[list[Metric], list[SampleScore]]:
        """All metrics under their full names, "/TYPE" behind those of a type; and the rows."""
        metrics = list(self.metrics.values())
        metrics += [metric for group in self.per_type.values() for metric in group.values()]
        metrics.append(
            Metric(f"{self.benchmark}/missing", self.missing, self.samples, unit="samples")
        )
        return metrics, list(self.scores)


def metric_json(metric: Metric) -> dict[str, Any]:
    """A metric as JSON-ready values; baselines only where they are known."""
    content: dict[str, Any] = {
        "value": metric.value,
        "unit": metric.unit,
        "n": metric.n,
        "ci95": None if metric.ci95 is None else list(metric.ci95),
    }
    for name in ("chance", "majority"):
        if getattr(metric, name) is not None:
            content[name] = getattr(metric, name)
    return content


def pair_predictions(
    samples: Sequence[Sample], predictions: Iterable[Prediction]
) -> list[Prediction | None]:
    """The prediction of each sample, None where there is none.

    Raises:
        AnnotationError: an id is predicted twice, or belongs to none of the samples.
    """
    paired: list[Prediction | None] = []
    twice: list[int] = []
    for given in predictions_of_each(samples, predictions):
        twice += [index for index, _ in given[1:]]
        paired.append(given[0][1] if given else None)
    if twice:
        repeated = list(predictions)[min(twice)].sample_id
        reason = f"{repeated!r} is predicted twice; give one prediction per sample"
        raise AnnotationError("predictions", min(twice), "id", reason)
    return paired


def predictions_of_each(
    samples: Sequence[Sample], predictions: Iterable[Prediction]
) -> list[list[tuple[int, Prediction]]]:
    """All predictions of each sample, with their places in the file.

    A prediction names its sample by id, or by the alias some samples have (the question's id).

    Raises:
        AnnotationError: an id belongs to none of the samples.
    """
    refuse_repeats((sample.sample_id for sample in samples), "annotations")
    rows = {sample.sample_id: row for row, sample in enumerate(samples)}
    aliases = Counter(sample.tags.get("alias", "") for sample in samples)
    for row, sample in enumerate(samples):
        alias = sample.tags.get("alias", "")
        if alias and aliases[alias] == 1:
            rows.setdefault(alias, row)
    found: list[list[tuple[int, Prediction]]] = [[] for _ in samples]
    for index, prediction in enumerate(predictions):
        name = prediction.sample_id
        # Whole numbers that went through a table of floats end in ".0".
        known = name if name in rows else name.removesuffix(".0")
        if known not in rows:
            reason = (
                f"unknown id {name!r}: none of these {len(samples)} annotated samples has it; "
                f"their ids look like {samples[0].sample_id!r}{_or_alias(samples[0])}"
                if samples
                else f"unknown id {name!r}: there are no annotated samples"
            )
            raise AnnotationError("predictions", index, "id", reason)
        found[rows[known]].append((index, prediction))
    return found


def _or_alias(sample: Sample) -> str:
    return f" or {sample.tags['alias']!r}" if sample.tags.get("alias") else ""


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
        members[pooled] = sorted(row for task in tasks for row in members.get(task, []))
    return {name: _mask(rows, len(samples)) for name, rows in members.items() if rows}


def _mask(rows: Sequence[int], size: int) -> Mask:
    mask = np.zeros(size, dtype=bool)
    mask[list(rows)] = True
    return mask


PERCENT = "%"


@dataclass(frozen=True)
class _Columns:
    values: NDArray[np.float64]
    chance: NDArray[np.float64] | None
    majority: NDArray[np.float64] | None
    unit: str = PERCENT

    @property
    def scale(self) -> float:
        """Shares in [0, 1] are told in percent, other units as they are."""
        return 100.0 if self.unit == PERCENT else 1.0


@dataclass
class Tally:
    """Collects the metrics of one evaluation; shares in [0, 1] are reported in percent."""

    benchmark: str
    protocol: str
    samples: Sequence[Sample]
    groups: Mapping[str, Mask] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    per_type: dict[str, dict[str, Metric]] = field(default_factory=dict)
    scores: list[SampleScore] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)

    def add(
        self,
        name: str,
        values: ArrayLike,
        *,
        chance: ArrayLike | None = None,
        majority: ArrayLike | None = None,
        within: Mask | None = None,
        grouped: bool = True,
        unit: str = PERCENT,
    ) -> None:
        """Record a per-sample metric: its mean, the mean of each group, and the rows themselves.

        Args:
            name: metric name without the benchmark.
            values: [N] per sample, in [0, 1] (CIDEr may exceed it).
            chance: [N] expected value of a random answer; NaN where unknown.
            majority: [N] value of the most frequent answer.
            within: [N] samples the metric is about; all by default.
            grouped: also per group.
            unit: of the values; percent stands for shares in [0, 1].
        """
        columns = _Columns(
            np.asarray(values, dtype=np.float64),
            None if chance is None else np.asarray(chance, dtype=np.float64),
            None if majority is None else np.asarray(majority, dtype=np.float64),
            unit,
        )
        counted = np.ones(len(self.samples), dtype=bool) if within is None else within
        full = f"{self.benchmark}/{name}"
        if counted.any():
            self.metrics[name] = _metric(full, columns, counted)
            self._keep_rows(full, columns, counted)
        for group, mask in self.groups.items() if grouped else ():
            rows = mask & counted
            if rows.any():
                grouped_name = f"{full}/{group}"
                self.per_type.setdefault(group, {})[name] = _metric(grouped_name, columns, rows)
                if group in POOLED_TASKS:
                    self._keep_rows(grouped_name, columns, rows)

    def _keep_rows(self, name: str, columns: _Columns, mask: Mask) -> None:
        values = (columns.scale * columns.values[mask]).tolist()
        self.scores.extend(
            SampleScore(name, self.samples[row].sample_id, self.samples[row].scene_id, value)
            for row, value in zip(np.flatnonzero(mask).tolist(), values, strict=True)
        )

    def add_corpus(
        self,
        name: str,
        value: float,
        interval: tuple[float, float] | None,
        majority: float | None = None,
        size: int | None = None,
    ) -> None:
        """Record a metric of the whole set that is no mean of per-sample values."""
        self.metrics[name] = Metric(
            name=f"{self.benchmark}/{name}",
            value=100 * value,
            n=len(self.samples) if size is None else size,
            majority=None if majority is None else 100 * majority,
            ci95=None if interval is None else (100 * interval[0], 100 * interval[1]),
        )

    def say_unread(self, reason: str, answers: Iterable[tuple[object, bool]]) -> None:
        """Note answers that could not be read.

        Args:
            reason: see `Unread`.
            answers: each answer as it is shown, and whether it could be read.
        """
        self.unread += Unread.among(reason, answers)

    def evaluation(
        self, predictions: Sequence[object | None], missing_rule: str = COUNTED_AS_WRONG
    ) -> Evaluation:
        """The finished evaluation.

        Args:
            predictions: one per sample, None where missing.
            missing_rule: what the protocol did with the missing ones.
        """
        missing = sum(prediction is None for prediction in predictions)
        warnings = list(self.warnings)
        if missing:
            total = len(predictions)
            warnings.append(f"{missing} of {total} samples have no prediction: {missing_rule}")
        return Evaluation(
            benchmark=self.benchmark,
            protocol=self.protocol,
            metrics=self.metrics,
            per_type=self.per_type,
            scores=self.scores,
            samples=len(predictions),
            missing=missing,
            missing_rule=missing_rule,
            warnings=tuple(warnings),
            unread=tuple(self.unread),
        )


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_EXAMPLE else text[: LONGEST_EXAMPLE - 3] + "..."


def _metric(name: str, columns: _Columns, mask: Mask) -> Metric:
    values = columns.values[mask]
    interval = bootstrap_mean(values)
    return Metric(
        name=name,
        value=columns.scale * float(values.mean()),
        n=int(values.size),
        unit=columns.unit,
        chance=_mean(columns.chance, mask, columns.scale),
        majority=_mean(columns.majority, mask, columns.scale),
        ci95=None
        if interval is None
        else (columns.scale * interval[0], columns.scale * interval[1]),
    )


def _mean(column: NDArray[np.float64] | None, mask: Mask, scale: float) -> float | None:
    if column is None:
        return None
    known = column[mask & ~np.isnan(column)]
    return scale * float(known.mean()) if known.size else None
