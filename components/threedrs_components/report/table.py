"""The result table: cells x metrics, each entry over seeds, missing numbers kept as missing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import chain

from threedrs_components.report.traits import Traits, traits
from threedrs_platform.config.suggestions import did_you_mean, nearest_few
from threedrs_platform.database.measurements import CellResult, RunResults
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.records import Metric
from threedrs_platform.states import StepState

BASE = "base"
"""How a grid calls the cell that changes nothing, whatever its label."""
ORDER = (
    *("scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d", "vsibench", "revsi"),
    *("mindcube", "viewspatial", "embspatial", "blink", "mmsi"),
)
"""Benchmarks as the paper's tables have them; a table of results needs no more of them."""
POOLED = ("position", "attribute")
"""Groups of question types that benchmarks report together."""
COUNTS = ("missing", "pairs", "mean_of_voxels")
"""Last parts of metrics that count, or repeat another metric."""
SETUP = frozenset({"world", "scenes", "samples", "teacher", "tower", "language"})
"""First parts of metrics of steps that do not depend on what a cell trains."""
EFFORT = frozenset({"training", "prediction"})
"""First parts of metrics of the work itself: loss and speed are no results."""


@dataclass(frozen=True)
class Entry:
    """One metric of one cell, over its seeds."""

    values: Mapping[int, float]
    """Seed -> value; finite values only."""
    wanted: int
    """Seeds that were asked for."""
    n: tuple[int, ...] = ()
    """The distinct sample counts behind the values; one number when all seeds agree."""
    reasons: Mapping[int, str] = field(default_factory=dict)
    """Seed -> why it is missing; empty when the cell does not measure this metric at all."""
    unit: str = ""
    """Of the values."""

    @cached_property
    def mean(self) -> float | None:
        """Mean over the seeds that are there."""
        return statistics.fmean(self.values.values()) if self.values else None

    @cached_property
    def sd(self) -> float | None:
        """Sample standard deviation over seeds; None below two seeds."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None

    @property
    def is_shown(self) -> bool:
        """Whether the cell measures this metric, or should have."""
        return bool(self.values) or self.is_missing

    @property
    def is_missing(self) -> bool:
        """Whether at least one seed that should be there is not."""
        return bool(self.reasons)


@dataclass(frozen=True)
class Column:
    """One metric, with what is needed to read its numbers."""

    name: str
    unit: str
    n: tuple[int, ...]
    chance: float | None
    majority: float | None


@dataclass(frozen=True)
class Row:
    """One cell."""

    cell_id: str
    title: str
    seeds: tuple[int, ...]
    entries: Mapping[str, Entry]
    replicates: tuple[CellResult, ...]

    @cached_property
    def traits(self) -> Traits:
        """What it trains with."""
        return traits(self.replicates[0].settings)

    @property
    def done(self) -> int:
        """Seeds whose every step has succeeded."""
        return sum(cell.state is StepState.SUCCEEDED for cell in self.replicates)


@dataclass(frozen=True)
class ResultTable:
    """Cells x metrics of one run."""

    results: RunResults
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    baseline: str | None
    """Cell id of the baseline; None when the run has no cell."""

    def row(self, cell_id: str) -> Row:
        """The row of a cell."""
        return self._by_id[cell_id]

    @cached_property
    def _by_id(self) -> Mapping[str, Row]:
        return {row.cell_id: row for row in self.rows}


def result_table(
    results: RunResults, metrics: Sequence[str] = (), baseline: str | None = None
) -> ResultTable:
    """Arrange a run's numbers.

    Args:
        results: what the run yielded.
        metrics: patterns such as "scanrefer/*"; none means the headline metrics.
        baseline: id, name or label of the baseline cell; by default, and for "base", the one
            called baseline, else the first that trains without teacher and extra loss.

    Raises:
        ConfigError: a pattern matches no metric, or no cell is the named baseline.
    """
    return arrange(results, select_metrics(results.metric_names(), metrics), baseline)


def arrange(results: RunResults, names: Sequence[str], baseline: str | None = None) -> ResultTable:
    """The numbers of metrics that were chosen by their names, as `result_table`."""
    groups = results.by_cell()
    rows = tuple(_row(cell_id, replicates, names) for cell_id, replicates in groups.items())
    columns = tuple(_column(name, results.cells) for name in names)
    return ResultTable(results, columns, rows, find_baseline(rows, baseline))


def reported_metrics(names: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """What a grid reports of the metrics that are there, in the grid's order.

    A name of the grid that nothing has measured yet is kept: a run that goes on has missing
    numbers, not fewer columns.
    """
    if not patterns:
        return headlines(names)
    found = dict[str, None]()
    for pattern in patterns:
        matching = [name for name in names if fnmatchcase(name, pattern)]
        is_name = not set(pattern) & set("*?[")
        found |= dict.fromkeys(matching or ([pattern] if is_name else []))
    return tuple(found)


def select_metrics(names: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """The names that match any pattern, in their own order; without a pattern the headlines.

    Raises:
        ConfigError: a pattern matches none.
    """
    if not patterns:
        return headlines(names)
    for pattern in patterns:
        if names and not any(fnmatchcase(name, pattern) for name in names):
            hint = nearest_few(pattern, names, "`workflows results --metric '*'`")
            fault = f"no metric matches {pattern!r}{hint}"
            raise ConfigError([Fault(fault, path="--metric")])
    return tuple(name for name in names if any(fnmatchcase(name, each) for each in patterns))


def headlines(names: Sequence[str]) -> tuple[str, ...]:
    """What is compared and shown unasked: benchmarks in the paper's order, then the rest."""

    def place(name: str) -> int:
        kind = name.split("/")[0]
        return ORDER.index(kind) if kind in ORDER else len(ORDER)

    return tuple(sorted(filter(is_headline, names), key=place))


def is_headline(name: str) -> bool:
    """Whether a metric is compared and shown unasked: whole benchmarks and pooled tasks, but no
    single question type, no stricter threshold of a pooled task, no count, and nothing that was
    measured before the cells part (those have a table of their own)."""
    parts = name.split("/")
    if is_setup(name) or parts[0] in EFFORT or parts[-1] in COUNTS:
        return False
    return len(parts) < 3 or (parts[-1] in POOLED and not parts[-2].endswith("@0.5"))


def is_setup(name: str) -> bool:
    """Whether a metric describes what cells share: scenes, teachers, the students' start."""
    return ":" in name or name.split("/")[0] in SETUP


def tells(metric: Metric) -> bool:
    """Whether a metric of a shared step is worth a line: no count, unless it counts losses."""
    if metric.unit in ("scenes", "samples"):
        return metric.name.endswith(("/skipped", "/left_out")) and metric.value > 0
    return metric.name.split("/")[-1] not in COUNTS


def find_baseline(rows: Sequence[Row], wanted: str | None) -> str | None:
    """Cell id of the baseline row.

    Raises:
        ConfigError: `wanted` names no row.
    """
    if wanted is None:
        return _plainest(rows)
    for row in rows:
        if wanted in _names(row):
            return row.cell_id
    if wanted == BASE:
        return _plainest(rows)
    known = [row.title for row in rows]
    raise ConfigError(
        [Fault(f"no cell is called {wanted!r}{did_you_mean(wanted, known)}", path="--baseline")]
    )


def present_baseline(results: RunResults, wanted: str | None) -> str | None:
    """The cell that a grid compares to; None where this run is without it."""
    try:
        find_baseline(arrange(results, ()).rows, wanted)
    except ConfigError:
        return None
    return wanted


def _plainest(rows: Sequence[Row]) -> str | None:
    """The cell called baseline, else the first that adds nothing, else the first."""
    named = (row for row in rows if _names(row) & {BASE, "baseline"})
    plain = (row for row in rows if row.traits.is_plain)
    return next((row.cell_id for row in chain(named, plain, rows)), None)


def _names(row: Row) -> set[str]:
    first = row.replicates[0]
    return {row.cell_id, row.title, first.name, first.label}


def _row(cell_id: str, replicates: tuple[CellResult, ...], names: Sequence[str]) -> Row:
    return Row(
        cell_id=cell_id,
        title=replicates[0].title,
        seeds=tuple(cell.seed for cell in replicates),
        entries={name: _entry(name, replicates) for name in names},
        replicates=replicates,
    )


def _entry(name: str, replicates: Sequence[CellResult]) -> Entry:
    measured = {
        cell.seed: cell.measurements[name].metric
        for cell in replicates
        if name in cell.measurements
    }
    finite = {
        seed: metric.value for seed, metric in measured.items() if math.isfinite(metric.value)
    }
    counts = tuple(sorted({measured[seed].n for seed in finite}))
    unit = next((metric.unit for metric in measured.values()), "")
    return Entry(finite, len(replicates), counts, _reasons(replicates, measured), unit)


def _reasons(replicates: Sequence[CellResult], measured: Mapping[int, Metric]) -> dict[int, str]:
    """Why seeds have no finite value. A finished cell that has none never measures the metric,
    unless another seed of it does."""
    reasons = {}
    for cell in replicates:
        metric = measured.get(cell.seed)
        if metric is not None and math.isfinite(metric.value):
            continue
        if metric is not None:
            reasons[cell.seed] = f"value is {metric.value}"
        elif cell.missing_reason:
            reasons[cell.seed] = cell.missing_reason
        elif measured:
            reasons[cell.seed] = "not measured"
    return reasons


def _column(name: str, cells: Iterable[CellResult]) -> Column:
    metrics = [cell.measurements[name].metric for cell in cells if name in cell.measurements]
    return Column(
        name=name,
        unit=metrics[0].unit if metrics else "",
        n=tuple(sorted({metric.n for metric in metrics})),
        chance=_mean(metric.chance for metric in metrics),
        majority=_mean(metric.majority for metric in metrics),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.fmean(present) if present else None
