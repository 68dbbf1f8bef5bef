"""Metrics, per-sample scores and curves in SQL: written once with a step's commit, then queried by
run, whatever people call the run.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, delete, func, select

from threedrs_platform.compute.recorder import CurvePoint
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.database.acceptances import accepted_why
from threedrs_platform.database.connection import Database
from threedrs_platform.database.kept_json import kept_object
from threedrs_platform.database.measurements import (
    CellResult,
    Measurement,
    RunResults,
    RunSummary,
    SceneTotals,
    StepSummary,
)
from threedrs_platform.database.schema import (
    MEASURED,
    cell_steps,
    cells,
    curves,
    metrics,
    runs,
    sample_scores,
    steps,
)
from threedrs_platform.database.score_sums import StoredSceneTotals, write_sums
from threedrs_platform.database.turns import whole_turn
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.garbage import uncollected
from threedrs_platform.records import Metric, SampleScore
from threedrs_platform.states import RunState, StepState

NO_RUN = "there is no run yet; start one with `workflows submit`"
LAST = "last"
"""What people call the newest run."""
MOST_NAMED = 5


def write_measurements(
    connection: Connection,
    step_key: str,
    reported: Sequence[Metric],
    scores: Iterable[SampleScore],
    points: Iterable[CurvePoint],
) -> None:
    """Store what a step reported, inside the transaction that commits the step.

    What an earlier commit of the same step stored (before a refresh) is replaced as a whole.
    """
    for table in MEASURED:
        connection.execute(delete(table).where(table.c.step_key == step_key))
    metric_rows = [_metric_row(step_key, metric) for metric in reported]
    score_rows = [
        {
            "step_key": step_key,
            "metric": score.metric,
            "sample_id": score.sample_id,
            "scene_id": score.scene_id,
            "value": _finite(score.value),
        }
        for score in scores
    ]
    curve_rows = [
        {"step_key": step_key, "step": each.step, "name": each.name, "value": _finite(each.value)}
        for each in points
    ]
    for table, rows in ((metrics, metric_rows), (sample_scores, score_rows), (curves, curve_rows)):
        if rows:
            connection.execute(table.insert(), rows)
    if score_rows:
        write_sums(connection, step_key)


def _metric_row(step_key: str, metric: Metric) -> dict[str, Any]:
    low, high = metric.ci95 or (None, None)
    return {
        "step_key": step_key,
        "name": metric.name,
        "value": float(metric.value),
        "n": metric.n,
        "unit": metric.unit,
        "chance": _finite(metric.chance),
        "majority": _finite(metric.majority),
        "ci_low": _finite(low),
        "ci_high": _finite(high),
    }


def _finite(value: float | None) -> float | None:
    """NULL for what is no number: SQLite cannot store NaN, and sums must not meet it."""
    return None if value is None or not math.isfinite(value) else float(value)


@whole_turn
def find_run_id(database: Database, wanted: str | None = None) -> str:
    """The id of the run that is meant.

    Args:
        wanted: an id, a unique beginning of one, or a grid's name for the newest of its runs; None
            and "last" mean the newest run of all.

    Raises:
        ConfigError: there is no such run, or the beginning fits several.
    """
    query = select(runs.c.id, runs.c.name).order_by(runs.c.created_at.desc(), runs.c.id.desc())
    with database.read() as connection:
        known: list[tuple[str, str]] = [(row.id, row.name) for row in connection.execute(query)]
    if not known:
        raise ConfigError([Fault(NO_RUN)])
    if wanted is None or wanted == LAST:
        return known[0][0]
    exact = [run_id for run_id, name in known if wanted in (run_id, name)]
    near = exact or [run_id for run_id, _ in known if run_id.startswith(wanted)]
    if not near:
        hint = did_you_mean(wanted, {each for run in known for each in run})
        hint = hint or "; `workflows status --list` lists the runs"
        raise ConfigError([Fault(f"no run is called {wanted!r}{hint}")])
    if len(near) > 1 and not exact:
        fits = ", ".join(near[:MOST_NAMED])
        raise ConfigError([Fault(f"{wanted!r} fits several runs: {fits}; give more of the id")])
    return near[0]


class Results:
    """Reads the runs of one database and their numbers."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def find_run(self, wanted: str | None = None) -> RunSummary:
        """The run with this id, unique beginning of an id, or grid name (its newest run).

        Raises:
            ConfigError: there is no such run, or the beginning fits several.
        """
        run_id = find_run_id(self.database, wanted)
        return next(run for run in self.run_summaries() if run.run_id == run_id)

    @whole_turn
    def run_summaries(self) -> list[RunSummary]:
        """All runs, newest first."""
        with self.database.read() as connection:
            found = connection.execute(
                select(runs.c.id, runs.c.name, runs.c.state, runs.c.created_at, runs.c.finished_at,
                       runs.c.grid_file)
                .order_by(runs.c.created_at.desc(), runs.c.id.desc())
            ).all()  # fmt: skip
        return [
            RunSummary(
                run_id=row.id,
                name=row.name,
                state=RunState(row.state),
                created_at=row.created_at,
                finished_at=row.finished_at,
                grid_file=row.grid_file,
            )
            for row in found
        ]

    @whole_turn
    @uncollected()
    def run_results(
        self,
        run_id: str,
        metrics: Collection[str] | None = None,
        cell_ids: Collection[str] | None = None,
    ) -> RunResults:
        """Every cell under every seed, with its steps and numbers; what is missing is missing.

        Args:
            metrics: only these, as cells call them; None means all.
            cell_ids: only these cells; None means all.
        """
        run = self.find_run(run_id)
        mine = select(cells).where(_these(cells, run.run_id, cell_ids))
        links = _these(cell_steps, run.run_id, cell_ids)
        with self.database.read() as connection:
            cell_rows = connection.execute(mine.order_by(cells.c.position, cells.c.seed)).all()
            step_rows = connection.execute(_steps_of(links)).all()
            metric_rows = connection.execute(_metrics_of(links, metrics)).all()
        summaries = _by_cell(step_rows)
        measured: dict[str, dict[str, Measurement]] = defaultdict(dict)
        for each in map(_measurement, metric_rows):
            measured[each.step_key][each.metric.name] = each
        return RunResults(run, tuple(_cell(row, summaries, measured) for row in cell_rows))

    @whole_turn
    def metric_names(self, run_id: str) -> list[str]:
        """What the steps of a run have measured, by the steps' own names."""
        of_run = select(cell_steps.c.step_key).where(_these(cell_steps, run_id))
        query = select(metrics.c.name).where(metrics.c.step_key.in_(of_run)).distinct()
        with self.database.read() as connection:
            return sorted(connection.scalars(query))

    @whole_turn
    def state_of_numbers(self, run_id: str) -> tuple[Any, ...]:
        """Something that is another as soon as a run has other numbers, or other cells ended."""
        keys = select(cell_steps.c.step_key).where(_these(cell_steps, run_id))
        measured = select(func.count(), func.max(metrics.c.id)).where(metrics.c.step_key.in_(keys))
        ended = (
            select(steps.c.state, func.count()).where(steps.c.key.in_(keys)).group_by(steps.c.state)
        )
        taken_out = (
            select(func.count())
            .select_from(cells)
            .where(_these(cells, run_id), cells.c.state == StepState.CANCELLED)
        )
        with self.database.read() as connection:
            return (
                *connection.execute(measured).one(),
                *sorted(map(tuple, connection.execute(ended))),
                connection.scalar(taken_out),
            )

    def scene_totals(self, results: RunResults) -> SceneTotals:
        """Per-sample scores of a run's cells summed by scene, each metric read when asked for."""
        return StoredSceneTotals(self.database, results)

    @whole_turn
    def sample_scores(self, measurement: Measurement) -> dict[str, float]:
        """Sample id -> score behind one measurement; empty when none were reported."""
        query = select(sample_scores.c.sample_id, sample_scores.c.value).where(
            sample_scores.c.step_key == measurement.step_key,
            sample_scores.c.metric == measurement.metric.name,
            sample_scores.c.value.is_not(None),
        )
        with self.database.read() as connection:
            return {row.sample_id: row.value for row in connection.execute(query)}

    @whole_turn
    def curves(self, step_key: str) -> list[CurvePoint]:
        """Training curves of one step, ordered by step and name; NaN where no number was logged."""
        query = (
            select(curves.c.step, curves.c.name, curves.c.value)
            .where(curves.c.step_key == step_key)
            .order_by(curves.c.step, curves.c.name)
        )
        with self.database.read() as connection:
            return [
                CurvePoint(row.step, row.name, math.nan if row.value is None else row.value)
                for row in connection.execute(query)
            ]


def _these(
    table: Table, run_id: str, cell_ids: Collection[str] | None = None
) -> ColumnElement[bool]:
    """Condition for the rows of a run, or of some of its cells."""
    of_run = table.c.run_id == run_id
    return of_run if cell_ids is None else and_(of_run, table.c.cell_id.in_(list(cell_ids)))


def _steps_of(links: ColumnElement[bool]) -> Any:
    return (
        select(
            cell_steps.c.cell_id,
            cell_steps.c.seed,
            cell_steps.c.role,
            cell_steps.c.step_key,
            steps.c.kind,
            steps.c.state,
            steps.c.output_digest,
            steps.c.message,
            steps.c.reason,
        )
        .join(steps, steps.c.key == cell_steps.c.step_key)
        .where(links)
        .order_by(steps.c.created_at, cell_steps.c.role)
    )


def _metrics_of(links: ColumnElement[bool], names: Collection[str] | None) -> Any:
    keys = select(cell_steps.c.step_key).where(links)
    query = select(metrics).where(metrics.c.step_key.in_(keys)).order_by(metrics.c.id)
    if names is None:
        return query
    return query.where(metrics.c.name.in_({name.rpartition(":")[2] for name in names}))


def _by_cell(rows: Iterable[Row[Any]]) -> dict[tuple[str, int], list[StepSummary]]:
    grouped: dict[tuple[str, int], list[StepSummary]] = defaultdict(list)
    for row in rows:
        cause = (row.message or "").strip().splitlines()
        grouped[row.cell_id, row.seed].append(
            StepSummary(
                role=row.role,
                key=row.step_key,
                kind=row.kind,
                state=StepState(row.state),
                output_digest=row.output_digest,
                cause=cause[0] if cause and row.state == StepState.FAILED else "",
                accepted=accepted_why(row.reason),
            )
        )
    return grouped


def _cell(
    row: Row[Any],
    summaries: Mapping[tuple[str, int], Sequence[StepSummary]],
    measured: Mapping[str, Mapping[str, Measurement]],
) -> CellResult:
    mine = summaries.get((row.cell_id, row.seed), ())
    numbers: dict[str, Measurement] = {}
    for step in mine:
        if step.state is StepState.SUCCEEDED:
            for name, measurement in measured.get(step.key, {}).items():
                numbers[_name_in_cell(step, name, numbers)] = measurement
    return CellResult(
        cell_id=row.cell_id,
        name=row.name,
        seed=row.seed,
        label=row.label,
        params=kept_object(row.params_json, "a cell"),
        steps=tuple(mine),
        measurements=numbers,
        cancelled=row.state == StepState.CANCELLED,
    )


def _name_in_cell(step: StepSummary, name: str, taken: Container[str]) -> str:
    """The metric's own name, or "role:name" for a second step of a kind or a second such metric."""
    second = step.role != step.kind or name in taken
    return f"{step.role}:{name}" if second else name


def _measurement(row: Row[*tuple[Any, ...]]) -> Measurement:
    _, step_key, name, value, n, unit, chance, majority, low, high = row
    interval = None if low is None or high is None else (low, high)
    return Measurement(Metric(name, value, n, unit, chance, majority, interval), step_key)
