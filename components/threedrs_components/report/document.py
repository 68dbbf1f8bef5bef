"""The whole report of a run as one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from threedrs_components.report.comparison import (
    COSTS,
    Difference,
    Family,
    compare_with_baseline,
    make_family,
)
from threedrs_components.report.findings import Finding, claimed, find
from threedrs_components.report.honesty import honesty_notes
from threedrs_components.report.layer_map import Panel, layer_map
from threedrs_components.report.opening import opening
from threedrs_components.report.quartiles import Trend, quartile_trends
from threedrs_components.report.table import (
    ResultTable,
    arrange,
    present_baseline,
    reported_metrics,
    result_table,
    select_metrics,
)
from threedrs_platform.database.measurements import RunResults, SceneTotals

EVERY_METRIC = ("*",)
SMOKE = "Tiny sizes and one seed (--smoke): the pipeline runs. Its numbers judge nothing."


@dataclass(frozen=True)
class Report:
    """Table, comparisons, findings and notes."""

    table: ResultTable
    differences: Mapping[tuple[str, str], Difference]
    """(cell id, metric) -> that cell minus the baseline."""
    family: Family
    """All tests of the run, whatever is shown of it."""
    trends: tuple[Trend, ...]
    layer_map: tuple[Panel, ...]
    """One for each probe that was read at several places"""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    opening: tuple[str, ...] = ()
    """The sentences on top."""


def run_family(
    results: RunResults,
    totals: SceneTotals | None,
    reported: Sequence[str],
    baseline: str | None = None,
    pair: tuple[str, str] | None = None,
) -> Family:
    """The tests of a run: a property of its grid and of the baseline, not of what is looked at.

    Args:
        pair: ids of two cells of which somebody wants to know what the grid reports, too.
    """
    return _family(result_table(results, EVERY_METRIC, baseline), totals, reported, pair)


def _family(
    whole: ResultTable,
    totals: SceneTotals | None,
    reported: Sequence[str],
    pair: tuple[str, str] | None = None,
) -> Family:
    measured = [column.name for column in whole.columns]
    wanted = reported_metrics(measured, reported)
    claims = [key for key in claimed(whole).values() if key is not None]
    if pair is not None and whole.baseline not in pair:
        first, second = pair
        tested = [metric for metric in wanted if not metric.startswith(COSTS)]
        claims += [(*pair, name) for name in tested if (second, first, name) not in claims]
    awaited = [name for name in wanted if name not in measured]
    table = arrange(whole.results, [*measured, *awaited], whole.baseline) if awaited else whole
    return make_family(table, wanted, claims, totals)


def make_report(
    results: RunResults,
    totals: SceneTotals | None = None,
    metrics: Sequence[str] = (),
    baseline: str | None = None,
    *,
    compare_to: str | None = None,
    reported: Sequence[str] = (),
    shown: RunResults | None = None,
    smoke: bool = False,
) -> Report:
    """Put a report together.

    Args:
        results: what the run yielded.
        totals: per-scene sums of the per-sample scores, where there are any.
        metrics: patterns of the metrics to show, by default the reported ones.
        baseline: id, name or label of the cell that the others are compared with.
        compare_to: the one that the grid names, for when `baseline` is None. In a run without it
            another stands in, and the report says so first.
        reported: patterns of the metrics that the grid reports, by default the headlines: what is
            tested, whatever is shown. One that is not measured yet is a column of missing numbers.
        shown: those cells of the run that are to be shown; by default all.
        smoke: whether it was a trial in tiny sizes, which judges nothing.

    Raises:
        ConfigError: one of `metrics` matches nothing, or no cell is the named baseline.
    """
    reference = baseline or present_baseline(results, compare_to)
    whole = result_table(results, EVERY_METRIC, reference)
    family = _family(whole, totals, reported)
    measured = results.metric_names()
    wanted = reported_metrics(measured, reported)
    known = tuple(dict.fromkeys((*wanted, *measured)))  # in the grid's order
    names = select_metrics(known, metrics) if metrics else wanted
    cells = results if shown is None else shown
    table = arrange(cells, names, whole.baseline)
    everything = whole if cells is results else arrange(cells, measured, whole.baseline)
    trends = quartile_trends(everything, {} if totals is None else totals)
    seen = {row.cell_id for row in table.rows}
    differences = compare_with_baseline(table, family, totals)
    told = (SMOKE,) if smoke else opening(table, whole, differences, family)
    if reference is None and (note := stands_in(whole, compare_to)):
        told = (f"{note} Another: --baseline CELL.", *told)
    return Report(
        table=table,
        differences=differences,
        family=family,
        trends=tuple(trends),
        layer_map=layer_map(everything),
        findings=() if smoke else tuple(find(whole, trends, family, seen)),
        notes=honesty_notes(everything),
        opening=told,
    )


def stands_in(table: ResultTable, compare_to: str | None) -> str:
    """Said where the cell that the grid compares to is not in its run, and another is the baseline.

    Empty where it is there, or the grid names none.

    Args:
        table: all cells of the run.
        compare_to: the cell that the grid names.
    """
    if compare_to is None or table.baseline is None:
        return ""
    if present_baseline(table.results, compare_to) is not None:
        return ""
    return (
        f"NOT THE GRID'S BASELINE: {compare_to}, to which the grid compares, is not in this run; "
        f"{table.row(table.baseline).title} stands in for it."
    )
