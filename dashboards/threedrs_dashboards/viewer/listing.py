"""The scenes of a cell, with their correspondence scores beside the baseline's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from threedrs_dashboards.tables import Table
from threedrs_dashboards.viewer.cells import PROBE, ViewedCell
from threedrs_platform.database.connection import Database
from threedrs_platform.database.schema import sample_scores

SCORE = "probe/score"
ORDERS = ("evaluated first", "lowest score", "highest score", "largest gain", "largest loss")


@dataclass(frozen=True)
class ListedScene:
    """One scene; scores are None where no probe has looked at it."""

    scene_id: str
    score: float | None
    baseline: float | None

    @property
    def gain(self) -> float | None:
        """Score minus the baseline's."""
        if self.score is None or self.baseline is None:
            return None
        return self.score - self.baseline


def scene_scores(database: Database, cell: ViewedCell) -> dict[str, float]:
    """Scene -> correspondence score of a cell; empty for a cell without a probe."""
    if PROBE not in cell.keys:
        return {}
    query = select(sample_scores.c.scene_id, sample_scores.c.value).where(
        sample_scores.c.step_key == cell.keys[PROBE],
        sample_scores.c.metric == SCORE,
        sample_scores.c.value.is_not(None),
    )
    with database.read() as connection:
        return {row.scene_id: row.value for row in connection.execute(query)}


def listed(
    ids: Sequence[str], ours: dict[str, float], baseline: dict[str, float], order: str, find: str
) -> list[ListedScene]:
    """Scenes whose id holds `find`, in the order asked for; those without a number last."""
    scenes = [ListedScene(each, ours.get(each), baseline.get(each)) for each in ids if find in each]
    gains = "gain" in order or "loss" in order
    downwards = order in ("highest score", "largest gain")

    def place(scene: ListedScene) -> tuple[bool, float, str]:
        value = scene.gain if gains else scene.score
        if value is None or order == ORDERS[0]:
            return value is None, 0.0, scene.scene_id
        return False, -value if downwards else value, scene.scene_id

    return sorted(scenes, key=place)


def scene_table(scenes: Sequence[ListedScene]) -> Table:
    """As data."""
    rows = [(each.scene_id, each.score, each.baseline, each.gain) for each in scenes]
    return Table(("scene", "score", "score_baseline", "gain"), rows)
