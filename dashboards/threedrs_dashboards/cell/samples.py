"""A cell's worst and best samples, picked by the database, beside the baseline's scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, select

from threedrs_dashboards.tables import Table
from threedrs_platform.database.connection import Database
from threedrs_platform.database.measurements import CellResult, Measurement
from threedrs_platform.database.schema import sample_scores


@dataclass(frozen=True)
class ScoredSample:
    """One sample."""

    sample_id: str
    scene_id: str
    value: float | None
    baseline: float | None
    """The baseline's score of the same sample."""

    @property
    def gain(self) -> float | None:
        """Above the baseline."""
        if self.value is None or self.baseline is None:
            return None
        return self.value - self.baseline


def scored_metrics(database: Database, cell: CellResult) -> list[str]:
    """The cell's metrics that have a score per sample."""
    keys = {each.step_key for each in cell.measurements.values()}
    query = select(sample_scores.c.step_key, sample_scores.c.metric)
    query = query.where(sample_scores.c.step_key.in_(keys)).distinct()
    with database.read() as connection:
        known = {(row.step_key, row.metric) for row in connection.execute(query)}
    return [
        name
        for name, each in cell.measurements.items()
        if (each.step_key, each.metric.name) in known
    ]


def samples(
    database: Database,
    mine: Measurement,
    baseline: Measurement | None,
    best_first: bool,
    first: int = 0,
    count: int | None = None,
) -> list[ScoredSample]:
    """Samples by score; among equals those that differ most from the baseline come first.

    Args:
        mine: of the cell; its step and metric say whose scores.
        baseline: of the cell compared with; None for none.
        best_first: else the worst come first.
        first: index of the first sample.
        count: how many; None means all.
    """
    query = _joined(mine, baseline)
    value, other = query.selected_columns.value, query.selected_columns.baseline
    gain = value - other
    order = (value.desc(), gain.desc()) if best_first else (value.asc(), gain.asc())
    query = query.order_by(*(each.nulls_last() for each in order), query.selected_columns.sample_id)
    if count is not None:
        query = query.offset(first).limit(count)
    with database.read() as connection:
        return [ScoredSample(*row) for row in connection.execute(query)]


def _joined(mine: Measurement, baseline: Measurement | None) -> Select[Any]:
    ours, theirs = sample_scores.alias("ours"), sample_scores.alias("theirs")
    wanted = and_(ours.c.step_key == mine.step_key, ours.c.metric == mine.metric.name)
    same = and_(
        theirs.c.step_key == (baseline.step_key if baseline else ""),
        theirs.c.metric == (baseline.metric.name if baseline else ""),
        theirs.c.sample_id == ours.c.sample_id,
    )
    return (
        select(ours.c.sample_id, ours.c.scene_id, ours.c.value, theirs.c.value.label("baseline"))
        .select_from(ours.outerjoin(theirs, same))
        .where(wanted)
    )


def samples_table(database: Database, mine: Measurement, baseline: Measurement | None) -> Table:
    """Every sample, worst first."""
    rows = [
        (each.sample_id, each.scene_id, each.value, each.baseline, each.gain)
        for each in samples(database, mine, baseline, best_first=False)
    ]
    return Table(("sample_id", "scene_id", "score", "baseline", "gain"), rows)
