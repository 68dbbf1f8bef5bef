"""Paired differences between two cells: over seeds, and over scenes for these trained models.

The two answer different questions. Over seeds: would training again give this difference? Over
scenes: do these trained models differ on scenes like these? Samples of one scene share its images,
so scenes, not samples, are the units that are exchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from threedrs_components.metrics.comparison import (
    ALPHA,
    PairedComparison,
    compare_paired,
    holm,
    sign_flip_p,
)
from threedrs_components.report.table import Entry, ResultTable
from threedrs_platform.database.measurements import SceneTotal, SceneTotals

NO_DIFFERENCE = "no significant difference"
COSTS = ("training/parameters", "training/seconds", "prediction/seconds", "teacher/seconds")
"""What metrics begin with that are no result: they are shown, and no test is made of them."""
RESAMPLES = 4000
"""Sign flips per test over scenes: p values down to 1/4001, enough after Holm over 80 metrics."""


@dataclass(frozen=True)
class OverScenes:
    """Difference of two cells over the scenes that both answered in full."""

    difference: float
    """Mean over samples, in the unit of the per-sample scores."""
    scenes: int
    samples: int
    seeds: tuple[int, ...]
    p: float
    """Two-sided, by exchanging the two cells scene by scene."""
    left_out: int = 0
    """Scenes that only one of the cells answered in full."""


@dataclass(frozen=True)
class Difference:
    """One metric of one cell against the baseline."""

    cell_id: str
    metric: str
    seeds: tuple[int, ...]
    """Seeds that both cells have."""
    over_seeds: PairedComparison | None
    """None when the two share no seed."""
    over_scenes: OverScenes | None = None
    """None when there are no per-sample scores."""
    corrected: float | None = None
    """p over seeds after Holm's correction across the metrics of this cell."""
    corrected_scenes: float | None = None
    """p over scenes after the same correction."""

    @property
    def significant(self) -> bool:
        """Whether the difference over seeds survives the correction."""
        return self.corrected is not None and self.corrected < ALPHA

    @property
    def significant_over_scenes(self) -> bool:
        """Whether these trained models differ on these scenes, after the correction."""
        return self.corrected_scenes is not None and self.corrected_scenes < ALPHA

    @property
    def is_quiet(self) -> bool:
        """Whether the verdict names no direction."""
        return not (self.significant or self.significant_over_scenes)

    @property
    def verdict(self) -> str:
        """What may be said, in words, from the data alone."""
        if self.over_seeds is None:
            return "not comparable: no seed in common"
        if self.significant:
            return "higher" if self.over_seeds.difference > 0 else "lower"
        if self.over_scenes is not None and self.significant_over_scenes:
            direction = "higher" if self.over_scenes.difference > 0 else "lower"
            if self.over_seeds.n == 1:
                return f"{direction} on these scenes; one seed, so no test over seeds"
            return f"{direction} on these scenes; not significant over {self.over_seeds.n} seeds"
        if self.over_seeds.n > 1:
            return NO_DIFFERENCE
        if self.over_scenes is not None:
            return f"{NO_DIFFERENCE} on these scenes; one seed, so no test over seeds"
        return "one seed: no test possible"


def compare_with_baseline(
    table: ResultTable, totals: SceneTotals | None = None
) -> dict[tuple[str, str], Difference]:
    """Every cell but the baseline against it: (cell id, metric) -> difference.

    Holm's correction runs across the metrics of one cell.
    """
    if table.baseline is None:
        return {}
    differences: dict[tuple[str, str], Difference] = {}
    for row in table.rows:
        if row.cell_id != table.baseline:
            family = compare_cells(table, table.baseline, row.cell_id, totals)
            differences |= {(row.cell_id, each.metric): each for each in family}
    return differences


def compare_cells(
    table: ResultTable, first: str, second: str, totals: SceneTotals | None = None
) -> list[Difference]:
    """Second cell minus first, for every metric that both have; corrected across these metrics."""
    family = [compare_metric(table, first, second, column.name, totals) for column in table.columns]
    return correct([each for each in family if each is not None])


def compare_metric(
    table: ResultTable, first: str, second: str, metric: str, totals: SceneTotals | None = None
) -> Difference | None:
    """Second cell minus first, uncorrected; None unless both have the metric."""
    pair = table.row(first).entries[metric], table.row(second).entries[metric]
    if not (pair[0].values and pair[1].values):
        return None
    scenes = _over_scenes({} if totals is None else totals, first, second, metric, _common(*pair))
    return compare_entries(second, metric, *pair, scenes)


def correct(family: Sequence[Difference]) -> list[Difference]:
    """Holm's correction of both tests across a family; costs and what cannot be tested stay out."""
    tested = [None if each.metric.startswith(COSTS) else each for each in family]
    over_seeds = _holm(
        [each.over_seeds.p_t if each and each.over_seeds else None for each in tested]
    )
    over_scenes = _holm(
        [each.over_scenes.p if each and each.over_scenes else None for each in tested]
    )
    return [
        replace(each, corrected=seeds, corrected_scenes=scenes)
        for each, seeds, scenes in zip(family, over_seeds, over_scenes, strict=True)
    ]


def _holm(p_values: Sequence[float | None]) -> list[float | None]:
    corrected = iter(holm([p for p in p_values if p is not None]))
    return [None if p is None else next(corrected) for p in p_values]


def _common(first: Entry, second: Entry) -> tuple[int, ...]:
    return tuple(sorted(first.values.keys() & second.values.keys()))


def compare_entries(
    cell_id: str, metric: str, first: Entry, second: Entry, scenes: OverScenes | None = None
) -> Difference:
    """Second entry minus first over the seeds that both have, uncorrected."""
    seeds = _common(first, second)
    pairs = [first.values[seed] for seed in seeds], [second.values[seed] for seed in seeds]
    over_seeds = compare_paired(*pairs) if seeds else None
    return Difference(cell_id, metric, seeds, over_seeds, scenes)


def _over_scenes(
    totals: SceneTotals, first: str, second: str, metric: str, seeds: Sequence[int]
) -> OverScenes | None:
    """Sum each scene's scores over the common seeds, then exchange the cells scene by scene."""
    used = tuple(
        seed
        for seed in seeds
        if (first, seed, metric) in totals and (second, seed, metric) in totals
    )
    pairs = [(totals[first, seed, metric], totals[second, seed, metric]) for seed in used]
    if not pairs:
        return None
    every = set[str]().union(*(a.keys() | b.keys() for a, b in pairs))
    complete = sorted(scene for scene in every if all(_alike(a, b, scene) for a, b in pairs))
    if not complete:
        return None
    gaps = np.array([sum(b[scene].total - a[scene].total for a, b in pairs) for scene in complete])
    samples = sum(pairs[0][0][scene].count for scene in complete)
    return OverScenes(
        difference=float(gaps.sum() / sum(a[scene].count for a, _ in pairs for scene in complete)),
        scenes=len(complete),
        samples=samples,
        seeds=used,
        p=sign_flip_p(gaps, resamples=RESAMPLES),
        left_out=len(every) - len(complete),
    )


def _alike(first: Mapping[str, SceneTotal], second: Mapping[str, SceneTotal], scene: str) -> bool:
    return scene in first and scene in second and first[scene].count == second[scene].count
