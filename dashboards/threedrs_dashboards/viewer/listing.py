"""The scenes of a cell, with accuracies and correspondence scores beside the baseline's."""

from __future__ import annotations

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


@dataclass(frozen=True)
class SceneNumbers:
    """What was measured of one cell, scene by scene."""

    metric: Mapping[str, float] = field(default_factory=dict)
    score: Mapping[str, float] = field(default_factory=dict)


def scored_names(database: Database, cell: ViewedCell) -> list[str]:
    """Metrics of which a cell has a score per question."""
    if SCORES not in cell.keys:
        return []
    query = select(sample_scores.c.metric).where(sample_scores.c.step_key == cell.keys[SCORES])
    with database.read() as connection:
        return sorted(connection.scalars(query.distinct()))


def scene_numbers(database: Database, cell: ViewedCell, metric: str) -> SceneNumbers:
    """Means per scene of a metric and of the correspondence score, under the cell's seed."""
    means = _means(database, cell.keys.get(SCORES), metric) if metric else {}
    return SceneNumbers(means, _means(database, cell.keys.get(PROBE), SCORE))


def _means(database: Database, step_key: str | None, metric: str) -> dict[str, float]:
    if step_key is None:
        return {}
    query = (
        select(sample_scores.c.scene_id, func.avg(sample_scores.c.value).label("mean"))
        .where(
            sample_scores.c.step_key == step_key,
            sample_scores.c.metric == metric,
            sample_scores.c.value.is_not(None),
        )
        .group_by(sample_scores.c.scene_id)
    )
    with database.read() as connection:
        return {row.scene_id: float(row.mean) for row in connection.execute(query)}


def listed(
    ids: Sequence[str], ours: SceneNumbers, baseline: SceneNumbers, order: str, find: str
) -> list[ListedScene]:
    """Scenes whose id holds `find`, in the order asked for; those without a number last."""
    scenes = [
        ListedScene(
            each,
            Pair(ours.metric.get(each), baseline.metric.get(each)),
            Pair(ours.score.get(each), baseline.score.get(each)),
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
            *(value for pair in (each.metric, each.score) for value in
              (pair.ours, pair.baseline, pair.gain)),
        )
        for each in scenes
    ]  # fmt: skip
    name = metric or "metric"
    header = (name, f"{name}_baseline", f"{name}_gain", "score", "score_baseline", "gain")
    return Table(("scene", *header), rows)
