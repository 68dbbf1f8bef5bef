"""The whole report of a run as one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from threedrs_components.report.comparison import Difference, compare_with_baseline
from threedrs_components.report.findings import Finding, find
from threedrs_components.report.honesty import honesty_notes
from threedrs_components.report.layer_map import Panel, layer_map
from threedrs_components.report.quartiles import Trend, quartile_trends
from threedrs_components.report.table import ResultTable, result_table
from threedrs_platform.database.measurements import RunResults, SceneTotals

EVERY_METRIC = ("*",)


@dataclass(frozen=True)
class Report:
    """Table, comparisons, findings and notes."""

    table: ResultTable
    differences: Mapping[tuple[str, str], Difference]
    """(cell id, metric) -> that cell minus the baseline."""
    trends: tuple[Trend, ...]
    layer_map: tuple[Panel, ...]
    """One for each probe that was read at several places"""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def make_report(
    results: RunResults,
    totals: SceneTotals | None = None,
    metrics: Sequence[str] = (),
    baseline: str | None = None,
) -> Report:
    """Put a report together.

    Args:
        results: what the run yielded.
        totals: per-scene sums of the per-sample scores, where there are any.
        metrics: patterns of the metrics to show and to correct over, by default the headlines;
            findings see all metrics.
        baseline: id, name or label of the cell that the others are compared with.
    """
    shown = result_table(results, metrics, baseline)
    whole = result_table(results, EVERY_METRIC, baseline)
    trends = quartile_trends(whole, {} if totals is None else totals)
    return Report(
        table=shown,
        differences=compare_with_baseline(shown, totals),
        trends=tuple(trends),
        layer_map=layer_map(whole),
        findings=tuple(find(whole, trends, totals)),
        notes=honesty_notes(whole),
    )
