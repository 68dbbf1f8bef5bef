"""Do scenes with a higher correspondence score have higher metrics? The paper says they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from threedrs_components.probing.quartiles import (
    Quartiles,
    SampleQuartiles,
    quartile_analysis,
    sample_quartiles,
)
from threedrs_components.report.table import Column, ResultTable, Row
from threedrs_platform.database.measurements import SceneTotal, SceneTotals
from threedrs_platform.database.scene_sums import SceneSums, aligned

SCORE = "probe/score"
SCORED = ("*acc@0.25", "*acc@0.25/position", "*cider*", "*/em@1")
"""Metrics that are set against the score."""
MIN_SCENES = 8


@dataclass(frozen=True)
class Trend:
    """One metric of one cell by quartile of the scenes' correspondence score."""

    cell_id: str
    title: str
    metric: str
    unit: str
    seeds: tuple[int, ...]
    quartiles: Quartiles
    """Over scenes, each with its mean: what is tested."""
    of_samples: SampleQuartiles
    """As the paper counts."""


def quartile_trends(table: ResultTable, totals: SceneTotals) -> list[Trend]:
    """Trends of every cell that has per-scene scores of the probe and of a metric."""
    metrics = [
        column
        for column in table.columns
        if any(fnmatchcase(column.name, pattern) for pattern in SCORED)
    ]
    trends = []
    for row in table.rows:
        for metric in metrics:
            trend = _trend(row, metric, totals)
            if trend is not None:
                trends.append(trend)
    return trends


def _trend(row: Row, column: Column, totals: SceneTotals) -> Trend | None:
    """Average each scene over the seeds that have both, then group the scenes."""
    metric = column.name
    seeds = tuple(
        seed
        for seed in row.seeds
        if (row.cell_id, seed, SCORE) in totals and (row.cell_id, seed, metric) in totals
    )
    scores = scene_means([totals[row.cell_id, seed, SCORE] for seed in seeds])
    values = scene_means([totals[row.cell_id, seed, metric] for seed in seeds])
    scenes = sorted(scores.keys() & values.keys())
    if len(scenes) < MIN_SCENES:
        return None
    score, value = [scores[scene] for scene in scenes], [values[scene] for scene in scenes]
    # The same samples are asked under every seed.
    asked = SceneSums.of(totals[row.cell_id, seeds[0], metric])
    samples = asked.counts[[asked.places[scene] for scene in scenes]].tolist()
    by_scene, by_sample = quartile_analysis(score, value), sample_quartiles(score, value, samples)
    return Trend(row.cell_id, row.title, metric, column.unit, seeds, by_scene, by_sample)


def scene_means(seeds: Sequence[Mapping[str, SceneTotal]]) -> dict[str, float]:
    """Scene -> mean score over all samples and seeds; scenes that a seed lacks are left out."""
    if not seeds:
        return {}
    scenes, totals, counts = aligned([SceneSums.of(each) for each in seeds])
    common: NDArray[np.bool_] = np.asarray(counts.all(axis=0))
    means = totals.compress(common, axis=1).sum(0) / counts.compress(common, axis=1).sum(0)
    return dict(zip(compress(scenes, list(common)), means.tolist(), strict=True))
