"""The scenes of a cell, with accuracies and correspondence scores beside the baseline's."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select

from threedrs_dashboards.tables import Table
from threedrs_dashboards.viewer.answers import SCORES
from threedrs_dashboards.viewer.cells import PROBE, ViewedCell
from threedrs_platform.database.connection import Database
from threedrs_platform.database.schema import sample_scores

SCORE = "probe/score"
METRIC_ORDERS = (
    "lowest metric",
    "highest metric",
    "metric's largest gain",
    "metric's largest loss",
)
SCORE_ORDERS = ("lowest score", "highest score", "largest gain", "largest loss")
UNORDERED = "evaluated first"
ALL_SEEDS, ONE_SEED = "all", "one"
"""Whether numbers are means over seeds, or of the seed that is looked at."""
ORDERS = (*METRIC_ORDERS, *SCORE_ORDERS, UNORDERED)


@dataclass(frozen=True)
class Pair:
    """A number of ours and of the baseline; None where nothing was measured."""

    ours: float | None = None
    baseline: float | None = None

    @property
    def gain(self) -> float | None:
        """Ours minus the baseline's."""
        if self.ours is None or self.baseline is None:
            return None
        return self.ours - self.baseline


@dataclass(frozen=True)
class ListedScene:
    """One scene."""

    scene_id: str
    metric: Pair
    """Mean over its questions."""
    score: Pair
    """Of correspondence."""
    questions: int | None = None
    """That the metric scores in this scene, under each seed."""


@dataclass(frozen=True)
class SceneNumbers:
    """What was measured of one cell, scene by scene, each seed counting the same."""

    metric: Mapping[str, float] = field(default_factory=dict)
    score: Mapping[str, float] = field(default_factory=dict)
    questions: Mapping[str, int] = field(default_factory=dict)
    metric_seeds: int = 0
    score_seeds: int = 0


def paired_numbers(
    database: Database, ours: Sequence[ViewedCell], theirs: Sequence[ViewedCell], metric: str
) -> tuple[SceneNumbers, SceneNumbers]:
    """Means per scene of a metric and of the correspondence score, of a cell and its baseline.

    Args:
        ours: the cell under each seed that counts.
        theirs: the baseline, likewise. Where both have numbers under a seed, others do not count.
    """
    found = [
        [_means(database, keys, name) for keys in _paired_keys(ours, theirs, role)]
        for role, name in ((SCORES, metric), (PROBE, SCORE))
    ]
    numbers = [
        SceneNumbers(
            {scene: mean for scene, (mean, _) in values.means.items()},
            {scene: mean for scene, (mean, _) in scores.means.items()},
            {scene: count for scene, (_, count) in values.means.items()},
            values.seeds,
            scores.seeds,
        )
        for values, scores in zip(*found, strict=True)
    ]
    return numbers[0], numbers[1]


def _paired_keys(
    ours: Sequence[ViewedCell], theirs: Sequence[ViewedCell], role: str
) -> tuple[list[str], list[str]]:
    """Keys of the steps of two cells, of the seeds that both have where there are any."""
    by_seed = [{each.seed: each.keys[role] for each in cells if role in each.keys}
               for cells in (ours, theirs)]  # fmt: skip
    both = by_seed[0].keys() & by_seed[1].keys()
    mine, other = ([key for seed, key in each.items() if not both or seed in both]
                   for each in by_seed)  # fmt: skip
    return mine, other


@dataclass(frozen=True)
class _Means:
    """Scene -> mean, and number of scored samples; and over how many seeds."""

    means: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    seeds: int = 0


def _means(database: Database, step_keys: Sequence[str], metric: str) -> _Means:
    if not step_keys or not metric:
        return _Means()
    columns = sample_scores.c
    query = (
        select(
            columns.step_key,
            columns.scene_id,
            func.avg(columns.value).label("mean"),
            func.count().label("number"),
        )
        .where(
            columns.step_key.in_(step_keys), columns.metric == metric, columns.value.is_not(None)
        )
        .group_by(columns.step_key, columns.scene_id)
    )
    by_key: dict[str, dict[str, tuple[float, int]]] = {}
    with database.read() as connection:
        for row in connection.execute(query):
            by_key.setdefault(row.step_key, {})[row.scene_id] = (float(row.mean), row.number)
    # Seeds may share a step, as cells do without training; each seed counts all the same.
    of_seeds = [by_key[key] for key in step_keys if key in by_key]
    values: dict[str, list[tuple[float, int]]] = {}
    for of_seed in of_seeds:
        for scene, pair in of_seed.items():
            values.setdefault(scene, []).append(pair)
    means = {
        scene: (statistics.fmean(mean for mean, _ in pairs), max(count for _, count in pairs))
        for scene, pairs in values.items()
    }
    return _Means(means, len(of_seeds))


def listed(
    ids: Sequence[str], ours: SceneNumbers, baseline: SceneNumbers, order: str, find: str
) -> list[ListedScene]:
    """Scenes whose id holds `find`, in the order asked for; those without a number last."""
    scenes = [
        ListedScene(
            each,
            Pair(ours.metric.get(each), baseline.metric.get(each)),
            Pair(ours.score.get(each), baseline.score.get(each)),
            ours.questions.get(each, baseline.questions.get(each)),
        )
        for each in ids
        if find in each
    ]

    def place(scene: ListedScene) -> tuple[bool, float, str]:
        pair = scene.metric if order in METRIC_ORDERS else scene.score
        if order == UNORDERED:
            nothing = scene.metric.ours is None and scene.score.ours is None
            return nothing, 0.0, scene.scene_id
        value = pair.gain if "gain" in order or "loss" in order else pair.ours
        if value is None:
            return True, 0.0, scene.scene_id
        downwards = "highest" in order or "gain" in order
        return False, -value if downwards else value, scene.scene_id

    return sorted(scenes, key=place)


def scene_table(scenes: Sequence[ListedScene], metric: str) -> Table:
    """As data."""
    rows = [
        (
            each.scene_id,
            each.questions,
            *(value for pair in (each.metric, each.score) for value in
              (pair.ours, pair.baseline, pair.gain)),
        )
        for each in scenes
    ]  # fmt: skip
    name = metric or "metric"
    header = (name, f"{name}_baseline", f"{name}_gain", "score", "score_baseline", "gain")
    return Table(("scene", "questions", *header), rows)
