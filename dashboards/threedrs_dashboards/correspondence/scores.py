"""Per-sample scores, summed or thinned out by the database: no page reads a million rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from threedrs_platform.database.connection import Database
from threedrs_platform.database.schema import cell_steps, sample_scores, steps
from threedrs_platform.states import StepState


@dataclass(frozen=True)
class SamplePoint:
    """One sample with its scene's correspondence score."""

    sample_id: str
    scene_id: str
    score: float
    value: float


def finished_steps(
    database: Database, run_id: str, roles: Sequence[str]
) -> dict[tuple[str, int], dict[str, str]]:
    """(cell id, seed) -> role -> key of a succeeded step of a run."""
    query = (
        select(cell_steps.c.cell_id, cell_steps.c.seed, cell_steps.c.role, cell_steps.c.step_key)
        .join(steps, steps.c.key == cell_steps.c.step_key)
        .where(
            cell_steps.c.run_id == run_id,
            cell_steps.c.role.in_(roles),
            steps.c.state == StepState.SUCCEEDED,
        )
    )
    found: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    with database.read() as connection:
        for row in connection.execute(query):
            found[row.cell_id, row.seed][row.role] = row.step_key
    return dict(found)


def count_samples(database: Database, step_key: str, metric: str) -> int:
    """How many samples of a step have a score."""
    query = select(func.count(sample_scores.c.value)).where(
        sample_scores.c.step_key == step_key, sample_scores.c.metric == metric
    )
    with database.read() as connection:
        return int(connection.scalar(query) or 0)


def sample_points(
    database: Database,
    probe: tuple[str, str],
    scored: tuple[str, str],
    most: int,
) -> tuple[list[SamplePoint], int]:
    """Samples beside their scene's score, evenly thinned out by the database.

    Args:
        database: where they are.
        probe: step key and metric of the correspondence scores.
        scored: step key and metric of the samples.
        most: points at most.

    Returns:
        The points in order of sample id, and how many samples there are.
    """
    number = count_samples(database, *scored)
    stride = max(1, -(-number // most))
    place = func.row_number().over(order_by=sample_scores.c.sample_id)
    ordered = (
        select(
            sample_scores.c.sample_id,
            sample_scores.c.scene_id,
            sample_scores.c.value,
            place.label("place"),
        )
        .where(
            sample_scores.c.step_key == scored[0],
            sample_scores.c.metric == scored[1],
            sample_scores.c.value.is_not(None),
        )
        .subquery()
    )
    kept = select(ordered).where((ordered.c.place - 1) % stride == 0).order_by(ordered.c.place)
    scenes = select(sample_scores.c.scene_id, sample_scores.c.value).where(
        sample_scores.c.step_key == probe[0],
        sample_scores.c.metric == probe[1],
        sample_scores.c.value.is_not(None),
    )
    with database.read() as connection:
        score = {row.scene_id: row.value for row in connection.execute(scenes)}
        rows = connection.execute(kept).all()
    points = [
        SamplePoint(row.sample_id, row.scene_id, score[row.scene_id], row.value)
        for row in rows
        if row.scene_id in score
    ]
    return points, number
