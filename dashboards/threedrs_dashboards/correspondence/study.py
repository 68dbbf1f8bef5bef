"""What the scores of some cells say: how they spread, what was gained, what goes with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from threedrs_components.metrics.uncertainty import Spread, spread
from threedrs_components.probing.quartiles import (
    SMALLEST_SAMPLE,
    Quartiles,
    SampleQuartiles,
    quartile_analysis,
    sample_quartiles,
)
from threedrs_components.report.quartiles import scene_means
from threedrs_platform.database.measurements import SceneTotal

Float64 = NDArray[np.float64]

WHISKERS = (5.0, 95.0)
"""Percentiles that the whiskers of a box reach."""


@dataclass(frozen=True)
class Scored:
    """One cell: means of its scenes, over all seeds that have them."""

    cell_id: str
    title: str
    seeds: tuple[int, ...]
    """Seeds with correspondence scores."""
    scores: Mapping[str, float]
    """Scene -> correspondence score."""
    values: Mapping[str, float]
    """Scene -> the metric; empty where it was not measured."""
    samples: Mapping[str, int]
    """Scene -> samples of the metric, the same under every seed."""
    over_seeds: Spread | None
    """Mean score over scenes, spread over seeds."""
    teacher: float | None = None
    """Mean score of the teacher's own features."""


@dataclass(frozen=True)
class Distribution:
    """How the scores of a cell's scenes spread."""

    low: float
    first: float
    median: float
    third: float
    high: float
    mean: float
    scenes: int


def scored_cell(
    cell_id: str,
    title: str,
    probes: Mapping[int, Mapping[str, SceneTotal]],
    metrics: Mapping[int, Mapping[str, SceneTotal]],
    teacher: Mapping[str, SceneTotal] | None,
) -> Scored:
    """One cell from the sums of its seeds.

    Args:
        cell_id: of the cell.
        title: of the cell.
        probes: seed -> scene -> correspondence scores.
        metrics: seed -> scene -> scores of the metric.
        teacher: scene -> correspondence scores of the teacher.
    """
    seeds = tuple(sorted(probes))
    by_seed = [_mean_over_scenes(probes[seed]) for seed in seeds]
    measured = [metrics[seed] for seed in seeds if seed in metrics]
    return Scored(
        cell_id,
        title,
        seeds,
        scene_means([probes[seed] for seed in seeds]),
        scene_means(measured),
        {scene: total.count for scene, total in measured[0].items()} if measured else {},
        spread(known) if (known := [each for each in by_seed if each is not None]) else None,
        _mean_over_scenes(teacher) if teacher else None,
    )


def _mean_over_scenes(totals: Mapping[str, SceneTotal]) -> float | None:
    values = list(scene_means([totals]).values())
    return float(np.mean(values)) if values else None


def distribution(cell: Scored) -> Distribution | None:
    """Five numbers and the mean; None for a cell without scores."""
    if not cell.scores:
        return None
    values = np.array(list(cell.scores.values()))
    shares = [WHISKERS[0], 25, 50, 75, WHISKERS[1]]
    low, first, median, third, high = np.percentile(values, shares).tolist()
    return Distribution(low, first, median, third, high, float(values.mean()), len(values))


def histogram(cells: Sequence[Scored], bins: int = 40) -> tuple[Float64, list[NDArray[np.int64]]]:
    """Edges [bins + 1] over all cells, and scenes per bin and cell."""
    everything = [np.array(list(cell.scores.values())) for cell in cells]
    joined = np.concatenate(everything) if everything else np.zeros(0)
    if not joined.size:
        return np.linspace(0.0, 1.0, bins + 1), [np.zeros(bins, np.int64) for _ in cells]
    edges = np.linspace(joined.min(), max(joined.max(), joined.min() + 1e-9), bins + 1)
    return edges, [np.histogram(values, edges)[0] for values in everything]


def quartiles(cell: Scored) -> tuple[Quartiles, SampleQuartiles] | None:
    """The metric by quartile of the score, over scenes and as the paper over samples.

    None with too few scenes that have both.
    """
    common = sorted(cell.scores.keys() & cell.values.keys())
    if len(common) < SMALLEST_SAMPLE:
        return None
    scores, values = ([each[scene] for scene in common] for each in (cell.scores, cell.values))
    by_sample = sample_quartiles(scores, values, [cell.samples[scene] for scene in common])
    return quartile_analysis(scores, values), by_sample
