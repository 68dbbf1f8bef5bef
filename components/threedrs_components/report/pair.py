"""Two cells of a run, or two runs cell by cell: metrics with tests, settings that differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from threedrs_components.report.comparison import (
    Difference,
    Family,
    compare_metric,
    make_family,
)
from threedrs_components.report.notation import ABSENT, entry_text, p_value
from threedrs_components.report.sheets import Sheet, difference_text
from threedrs_components.report.table import (
    ResultTable,
    Row,
    arrange,
    reported_metrics,
    select_metrics,
)
from threedrs_platform.database.measurements import CellResult, RunResults, SceneTotals, flatten

FIRST, SECOND = "first", "second"


@dataclass(frozen=True)
class Pair:
    """Two cells and what differs."""

    table: ResultTable
    """The two cells, and no other."""
    differences: tuple[Difference, ...]
    """Second minus first."""
    params: Mapping[str, tuple[Any, Any]]
    """Setting -> its two values, where they differ; None where one cell has no such setting."""
    tests: int
    """Over so many the p values are corrected."""
    shared: frozenset[str] = frozenset()
    """Settings that both cells have, be it as null."""

    @property
    def rows(self) -> tuple[Row, Row]:
        """First and second."""
        return self.table.row(FIRST), self.table.row(SECOND)


def pair_cells(
    first: Sequence[CellResult],
    second: Sequence[CellResult],
    metrics: Sequence[str] = (),
    totals: tuple[SceneTotals, SceneTotals] = ({}, {}),
    *,
    run: RunResults,
    reported: Sequence[str] = (),
    family: Family | None = None,
) -> Pair:
    """Compare the replicates of two cells, of one run or of two.

    What is shown changes no verdict: tests are corrected over the run's, or, for cells of two runs,
    over what the grid reports of this pair.

    Args:
        first: all seeds of one cell.
        second: all seeds of the other.
        metrics: patterns; none means what the grid reports.
        totals: per-scene sums of the runs that the cells come from.
        run: whose name stands in the title.
        reported: patterns of the metrics that the grid reports, by default the headlines.
        family: all tests of the run that both cells are of, these cells among them.
    """
    arms = {FIRST: first, SECOND: second}
    measured = _together(arms, run).metric_names()
    tested = reported_metrics(measured, reported)
    names = select_metrics(_each_once(tested, measured), metrics) if metrics else tested
    beside = side_by_side(
        arms, names, dict(zip(arms, totals, strict=True)), run=run, tested=tested, family=family
    )
    params = params_diff(first[0].params, second[0].params)
    shared = flatten(first[0].params).keys() & flatten(second[0].params).keys()
    differences = tuple(beside.differences.values())
    return Pair(beside.table, differences, params, beside.tests, frozenset(shared))


@dataclass(frozen=True)
class SideBySide:
    """Several cells, of one run or of several, and how each differs from the first."""

    table: ResultTable
    """These cells, called by their arms, and no other."""
    differences: Mapping[tuple[str, str], Difference]
    """(arm, metric) -> that arm minus the first."""
    tests: int
    """Over so many the p values are corrected."""


def side_by_side(
    arms: Mapping[str, Sequence[CellResult]],
    names: Sequence[str],
    totals: Mapping[str, SceneTotals],
    *,
    run: RunResults,
    tested: Sequence[str],
    family: Family | None = None,
) -> SideBySide:
    """Compare the replicates of cells with those of the first.

    What is shown changes no verdict: tests are corrected over the run's, or, for cells of several
    runs, over what the grid reports of these cells.

    Args:
        arms: name -> all seeds of one cell.
        names: metrics to show.
        totals: name -> per-scene sums of the run that the cell comes from.
        run: whose name stands in the title.
        tested: metrics that the grid reports.
        family: all tests of the run that all cells are of, these cells among them.
    """
    whole = _together(arms, run)
    first, *others = arms
    table = arrange(whole, _each_once(names, tested), first)
    joined = _joined(arms, _each_once(names, tested), totals)
    cells = {arm: arm if family is None else group[0].cell_id for arm, group in arms.items()}
    if family is None:
        family = make_family(table, tested, (), joined)
    found = [
        ((arm, name), family.judge(each, (cells[first], cells[arm], name)))
        for arm in others
        for name in names
        if (each := compare_metric(table, first, arm, name, joined)) is not None
    ]
    return SideBySide(arrange(whole, names, first), dict(found), len(family))


def _each_once(*names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(chain(*names)))


def _together(arms: Mapping[str, Sequence[CellResult]], run: RunResults) -> RunResults:
    cells = [replace(cell, cell_id=name) for name, group in arms.items() for cell in group]
    return replace(run, cells=tuple(cells))


def _joined(
    arms: Mapping[str, Sequence[CellResult]],
    names: Sequence[str],
    totals: Mapping[str, SceneTotals],
) -> SceneTotals:
    """Per-scene sums of the arms' seeds, by their names."""
    wanted = [
        (arm, cell.cell_id, cell.seed, name)
        for arm, group in arms.items()
        for cell in group
        for name in names
    ]
    return {
        (arm, seed, name): totals[arm][cell_id, seed, name]
        for arm, cell_id, seed, name in wanted
        if (cell_id, seed, name) in totals[arm]
    }


def params_diff(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Settings that two cells do not share, dotted, sorted."""
    left, right = flatten(first), flatten(second)
    return {
        name: (left.get(name), right.get(name))
        for name in sorted(left.keys() | right.keys())
        if left.get(name) != right.get(name)
    }


@dataclass(frozen=True)
class MatchedRuns:
    """Cells of two runs that stand for each other, and those left alone."""

    pairs: tuple[tuple[tuple[CellResult, ...], tuple[CellResult, ...]], ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def match_cells(first: RunResults, second: RunResults) -> MatchedRuns:
    """Pair cells by id; where the id changed with a parameter, by title."""
    left, right = first.by_cell(), second.by_cell()
    pairs = [(left.pop(cell_id), right.pop(cell_id)) for cell_id in list(left) if cell_id in right]
    titles = {group[0].title: cell_id for cell_id, group in right.items()}
    for cell_id, group in list(left.items()):
        twin = titles.get(group[0].title)
        if twin is not None:
            pairs.append((left.pop(cell_id), right.pop(twin)))
    return MatchedRuns(tuple(pairs), _titles(left.values()), _titles(right.values()))


def _titles(groups: Iterable[tuple[CellResult, ...]]) -> tuple[str, ...]:
    return tuple(group[0].title for group in groups)


def pair_sheets(pair: Pair, names: tuple[str, str], every_setting: bool = True) -> list[Sheet]:
    """Metrics side by side, then the settings that differ.

    Args:
        pair: the two cells.
        names: what they are called.
        every_setting: else those that one of the cells alone has, which follow from what was
            chosen, are counted.
    """
    first, second = pair.rows
    found = {each.metric: each for each in pair.differences}
    rows = []
    for column in pair.table.columns:
        entries = first.entries[column.name], second.entries[column.name]
        texts = (entry_text(entry, column.unit) for entry in entries)
        rows.append((column.name, *texts, *_tests(found.get(column.name), column.unit)))
    header = ("metric", *names, "difference", "p", "p scenes", "verdict")
    legend = LEGEND.format(tests=pair.tests)
    metrics = Sheet(f"{names[1]} minus {names[0]}", header, tuple(rows), legend)
    if not pair.params:
        return [metrics]
    chosen = pair.params if every_setting else chosen_settings(pair)
    settings = tuple((name, _shown(left), _shown(right)) for name, (left, right) in chosen.items())
    title, folded = "settings that differ", len(pair.params) - len(chosen)
    more = f"{folded} more are settings of what one cell alone has (--settings lists them)"
    more = more if folded else ""
    return [metrics, Sheet(title, ("setting", *names), settings, more)]


def chosen_settings(pair: Pair) -> dict[str, tuple[Any, Any]]:
    """Those that both cells have, or that the name of one says; all if there are none."""
    titles = ",".join(row.replicates[0].name for row in pair.rows)
    chosen = {
        name: values
        for name, values in pair.params.items()
        if name in pair.shared or f",{name}=" in f",{titles}"
    }
    return chosen or dict(pair.params)


LEGEND = (
    "differences with 95 % intervals over seeds and scenes that both have; p values corrected "
    "(Holm) over {tests} tested differences, which the grid fixes, whatever is shown; p scenes: "
    "exchange of the two, scene by scene, for these models"
)


def _tests(difference: Difference | None, unit: str) -> tuple[str, str, str, str]:
    if difference is None:
        return (ABSENT, "", "", "")
    return (
        difference_text(difference, unit),
        p_value(difference.corrected),
        p_value(difference.corrected_scenes),
        difference.verdict,
    )


def _shown(value: Any) -> str:
    return ABSENT if value is None else str(value)
