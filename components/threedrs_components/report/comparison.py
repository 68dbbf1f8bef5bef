"""Paired differences between two cells: over seeds, over scenes, and over both together.

Over seeds: would training again give this difference? Over scenes: do these trained models differ
on scenes like these? Both together, which is what a reader wants to know: would training again, and
asking in other scenes, give it? Samples of one scene share its images, so scenes, not samples, are
the units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from threedrs_components.metrics.comparison import (
    ALPHA,
    PairedComparison,
    compare_paired,
    holm,
    sign_flip_p,
)
from threedrs_components.metrics.crossed import LEAST_SEEDS, CrossedComparison, compare_crossed
from threedrs_components.report.table import Entry, ResultTable
from threedrs_platform.database.measurements import SceneTotals
from threedrs_platform.database.scene_sums import SceneSums, aligned

NO_DIFFERENCE = "no significant difference"
UNTESTED = "outside the run's tests"
WHOLE_SHARE = 100.0
"""What all samples together count in a metric that is a share: one of them can be in doubt."""
COSTS = ("training/parameters", "training/seconds", "prediction/seconds", "teacher/seconds")
"""What metrics begin with that are no result: they are shown, and no test is made of them."""
RESAMPLES = 4000
"""Sign flips per test over scenes: p values down to 1/4001, enough after Holm over 80 metrics."""

Key = tuple[str, str, str]
"""First cell, second cell and metric of a difference."""


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
    both: CrossedComparison | None = None
    """The difference with all its chance; None when the two share no seed."""
    tests: int | None = None
    """Tests of the family that this one is of; None: of none."""
    corrected: float | None = None
    """p over seeds and scenes after Holm's correction across the family."""
    corrected_scenes: float | None = None
    """p over scenes after the same correction."""

    @property
    def is_testable(self) -> bool:
        """Whether anything tells how large its chance is."""
        return (self.both is not None and self.both.p is not None) or self.over_scenes is not None

    @property
    def is_tested(self) -> bool:
        """Whether it is of the family, and something has tested it."""
        return self.corrected is not None or self.corrected_scenes is not None

    @property
    def significant(self) -> bool:
        """Whether the difference over seeds and scenes survives the correction."""
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
        if self.both is None:
            return "not comparable: no seed in common"
        if self.tests is None:
            return UNTESTED
        if self.significant:
            return "higher" if self.both.difference > 0 else "lower"
        if self.over_scenes is not None and self.significant_over_scenes:
            direction = "higher" if self.over_scenes.difference > 0 else "lower"
            return f"{direction} on these scenes; {self._about_seeds}"
        if self.both.seeds >= LEAST_SEEDS:
            return NO_DIFFERENCE
        if self.over_scenes is not None:
            return f"{NO_DIFFERENCE} on these scenes; {self._about_seeds}"
        return self._about_seeds

    @property
    def _about_seeds(self) -> str:
        """Why seeds and scenes together show nothing."""
        seeds = self.both.seeds if self.both else 0
        if seeds >= LEAST_SEEDS:
            return f"not significant over seeds ({seeds}) and scenes"
        return f"{'one seed' if seeds == 1 else 'two seeds'} cannot show more"


@dataclass(frozen=True)
class Family:
    """All tests of a run, fixed before anybody chooses what to look at."""

    differences: Mapping[Key, Difference]
    """Corrected across each other; those that nothing can test are among them."""
    metrics: tuple[str, ...]
    """In which every cell is compared with the baseline."""
    awaited: int = 0
    """Tests of cells that are not finished, and have nothing to compare yet."""

    def __len__(self) -> int:
        """Number of tests: of differences that can be tested, and of those to come."""
        return sum(each.is_testable for each in self.differences.values()) + self.awaited

    def judge(self, each: Difference, key: Key) -> Difference:
        """A difference with what the family says of these two cells, whichever came first."""
        first, second, metric = key
        for known in (key, (second, first, metric)):
            if known in self.differences:
                test = self.differences[known]
                return replace(
                    each,
                    tests=test.tests,
                    corrected=test.corrected,
                    corrected_scenes=test.corrected_scenes,
                )
        return each


def make_family(
    table: ResultTable,
    metrics: Sequence[str],
    further: Iterable[Key],
    totals: SceneTotals | None = None,
) -> Family:
    """Test every cell against the baseline in some metrics, and what else is claimed.

    What unfinished cells will be tested in counts from the start: no star of a run that goes on is
    lost because more was measured.

    Args:
        table: all cells of the run with all their metrics.
        metrics: those that the grid reports.
        further: comparisons behind claims; those that are there already count once.
        totals: per-scene sums.
    """
    base = table.baseline
    cells = [row.cell_id for row in table.rows if row.cell_id != base]
    metrics = [metric for metric in metrics if not metric.startswith(COSTS)]
    keys = [(base, cell_id, metric) for cell_id in cells for metric in metrics] if base else []
    found = {key: compare_metric(table, *key, totals) for key in dict.fromkeys([*keys, *further])}
    tested = {key: each for key, each in found.items() if each is not None}
    awaited = sum(_is_awaited(table, key) for key in found.keys() - tested.keys())
    corrected = correct(list(tested.values()), awaited)
    return Family(dict(zip(tested, corrected, strict=True)), tuple(metrics), awaited)


def _is_awaited(table: ResultTable, key: Key) -> bool:
    """Whether one of two cells is not finished, so that there may be something to compare."""
    return any(row.done < len(row.seeds) for row in map(table.row, key[:2]))


def compare_with_baseline(
    table: ResultTable, family: Family, totals: SceneTotals | None = None
) -> dict[tuple[str, str], Difference]:
    """Every cell but the baseline against it: (cell id, metric) -> difference.

    What the family does not test is compared, but not judged.
    """
    if table.baseline is None:
        return {}
    differences: dict[tuple[str, str], Difference] = {}
    for row in table.rows:
        for column in table.columns if row.cell_id != table.baseline else ():
            key = (table.baseline, row.cell_id, column.name)
            each = family.differences.get(key) or compare_metric(table, *key, totals)
            if each is not None:
                differences[row.cell_id, column.name] = each
    return differences


def compare_metric(
    table: ResultTable, first: str, second: str, metric: str, totals: SceneTotals | None = None
) -> Difference | None:
    """Second cell minus first, uncorrected; None unless both have the metric."""
    pair = table.row(first).entries[metric], table.row(second).entries[metric]
    if not (pair[0].values and pair[1].values):
        return None
    common = _common(*pair)
    gaps = scene_gaps({} if totals is None else totals, first, second, metric, common)
    return compare_entries(second, metric, *pair, gaps)


def correct(family: Sequence[Difference], awaited: int = 0) -> list[Difference]:
    """Holm's correction of both tests across a family; untestable members do not count.

    Args:
        family: what can be compared.
        awaited: members that cannot be compared yet, and do count.
    """
    tests = sum(each.is_testable for each in family) + awaited
    over_both = _holm([each.both.p if each.both else None for each in family], awaited)
    over_scenes = _holm(
        [each.over_scenes.p if each.over_scenes else None for each in family], awaited
    )
    return [
        replace(each, tests=tests, corrected=both, corrected_scenes=scenes)
        for each, both, scenes in zip(family, over_both, over_scenes, strict=True)
    ]


def _holm(p_values: Sequence[float | None], awaited: int) -> list[float | None]:
    known = [p for p in p_values if p is not None]
    corrected = iter(holm([*known, *[1.0] * awaited]))
    return [None if p is None else next(corrected) for p in p_values]


def _common(first: Entry, second: Entry) -> tuple[int, ...]:
    return tuple(sorted(first.values.keys() & second.values.keys()))


def compare_entries(
    cell_id: str, metric: str, first: Entry, second: Entry, gaps: SceneGaps | None = None
) -> Difference:
    """Second entry minus first over the seeds that both have, uncorrected.

    Args:
        cell_id: of the second.
        metric: of both.
        first: values by seed.
        second: values by seed.
        gaps: the same difference scene by scene, where it is known.
    """
    seeds = _common(first, second)
    if not seeds:
        return Difference(cell_id, metric, seeds, None)
    pairs = [first.values[seed] for seed in seeds], [second.values[seed] for seed in seeds]
    by_seed: NDArray[np.float64] = np.subtract(pairs[1], pairs[0])[:, None]
    by_scene = gaps.of_mean() if gaps else by_seed
    if len(by_scene) != len(by_seed) or not np.allclose(by_scene.mean(1), by_seed[:, 0]):
        # The metric is no mean over the samples that both cells have: only seeds tell its chance.
        by_scene = by_seed
    samples = max((*first.n, *second.n), default=0)
    least = WHOLE_SHARE / samples if samples and first.unit == "%" else 0.0
    scenes = gaps.exchanged() if gaps else None
    whole = compare_crossed(by_scene, least)
    return Difference(cell_id, metric, seeds, compare_paired(*pairs), scenes, whole)


@dataclass(frozen=True)
class SceneGaps:
    """Differences of two cells scene by scene, over the scenes that both answered in full."""

    sums: NDArray[np.float64]
    """[seeds, scenes] of the differences of all samples of a scene."""
    counts: NDArray[np.int64]
    """[scenes] samples."""
    seeds: tuple[int, ...]
    left_out: int
    """Scenes that only one of the cells answered in full."""

    @property
    def samples(self) -> int:
        """In all scenes."""
        return int(self.counts.sum())

    def of_mean(self) -> NDArray[np.float64]:
        """[seeds, scenes] whose mean is the mean over samples, and whose rows are its values by
        seed: a scene counts by its samples, and differs by how far these are from the mean."""
        mean = self.sums.sum() / (len(self.seeds) * self.samples)
        away = self.sums - mean * self.counts
        gaps: NDArray[np.float64] = mean + away * (len(self.counts) / self.samples)
        return gaps

    def exchanged(self) -> OverScenes:
        """The test over scenes, for these trained models."""
        by_scene = self.sums.sum(0)
        return OverScenes(
            difference=float(by_scene.sum() / (len(self.seeds) * self.samples)),
            scenes=len(self.counts),
            samples=self.samples,
            seeds=self.seeds,
            p=sign_flip_p(by_scene, resamples=RESAMPLES),
            left_out=self.left_out,
        )


def scene_gaps(
    totals: SceneTotals, first: str, second: str, metric: str, seeds: Sequence[int]
) -> SceneGaps | None:
    """Differences of two cells scene by scene; None without scores per sample of any scene."""
    used = tuple(
        seed
        for seed in seeds
        if (first, seed, metric) in totals and (second, seed, metric) in totals
    )
    if not used:
        return None
    arms = [totals[cell, seed, metric] for cell in (first, second) for seed in used]
    _, sums, counts = aligned([SceneSums.of(each) for each in arms])
    complete = (counts == counts[0]).all(0)  # all cells answered the same number of questions
    if not complete.any():
        return None
    sums = sums.compress(complete, axis=1)
    return SceneGaps(
        sums=sums[len(used) :] - sums[: len(used)],
        counts=counts[0].compress(complete),
        seeds=used,
        left_out=int((~complete).sum()),
    )
