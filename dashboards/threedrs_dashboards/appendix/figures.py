"""Which figures a run has: metrics, correspondence before and after, quartiles, training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from threedrs_components.report.document import Report
from threedrs_components.report.quartiles import SCORE
from threedrs_components.report.table import Row
from threedrs_dashboards.ablation.means import means_chart
from threedrs_dashboards.ablation.sheet import unit_heading
from threedrs_dashboards.appendix.training import training_charts
from threedrs_dashboards.charts import Chart
from threedrs_dashboards.correspondence.figures import (
    before_after_chart,
    quartile_chart,
    spread_chart,
)
from threedrs_dashboards.correspondence.study import Scored, scored_cell
from threedrs_platform.database.connection import Database
from threedrs_platform.database.measurements import SceneTotal, SceneTotals

MOST_CELLS = 24
"""More lines and bars than this cannot be told apart in print."""
COSINE = "cosine"
"""Unit of the score."""
TEACHER_SCORE = f"probe_teacher:{SCORE}"


def run_figures(database: Database, report: Report, totals: SceneTotals) -> list[Chart]:
    """All figures of a run, each with a name of its own.

    Args:
        database: holds the curves.
        report: its table says which metrics.
        totals: sums by scene of the probe and of the metrics.
    """
    rows = report.table.rows[:MOST_CELLS]
    return [
        *_metric_charts(report, rows),
        *_correspondence_charts(report, rows, totals),
        *training_charts(database, rows),
    ]


def _metric_charts(report: Report, rows: Sequence[Row]) -> Iterator[Chart]:
    for column in report.table.columns:
        shown = [(row.title, row.entries[column.name]) for row in rows]
        yield means_chart(file_name("mean", column.name), unit_heading(column), column, shown)


def _correspondence_charts(
    report: Report, rows: Sequence[Row], totals: SceneTotals
) -> Iterator[Chart]:
    """How the score spreads, what was gained, and what goes with it in each metric with a trend."""
    plain = [_scored(row, totals, "") for row in rows]
    known = [cell for cell in plain if cell.scores]
    if not known:
        return
    yield spread_chart(known, SCORE, COSINE)
    baseline = next((cell for cell in known if cell.cell_id == report.table.baseline), None)
    if baseline is not None and len(known) > 1:
        found = {
            cell_id: each
            for (cell_id, metric), each in report.differences.items()
            if metric == SCORE and each.both is not None
        }
        yield before_after_chart(known, baseline, SCORE, found, COSINE)
    units = {trend.metric: trend.unit for trend in report.trends}
    for metric, unit in units.items():
        scored = [_scored(row, totals, metric) for row in rows]
        chart = quartile_chart([cell for cell in scored if cell.values], SCORE, metric, unit)
        yield renamed(chart, file_name("quartiles", metric))


def file_name(kind: str, metric: str) -> str:
    """ "mean" and "scanrefer/acc@0.25" become "mean-scanrefer-acc_at_0.25"."""
    return f"{kind}-{metric}".replace("/", "-").replace("@", "_at_").replace(":", "-")


def renamed(chart: Chart, name: str) -> Chart:
    """A chart under another name: names are unique in a document."""
    return Chart(
        name, chart.title, chart.traces, chart.table, chart.summary, chart.layout, chart.height
    )


def _scored(row: Row, totals: SceneTotals, metric: str) -> Scored:
    def by_seed(name: str) -> dict[int, dict[str, SceneTotal]]:
        keys = {seed: (row.cell_id, seed, name) for seed in row.seeds} if name else {}
        return {seed: dict(totals[key]) for seed, key in keys.items() if key in totals}

    teacher = next(iter(by_seed(TEACHER_SCORE).values()), None)
    return scored_cell(row.cell_id, row.title, by_seed(SCORE), by_seed(metric), teacher)
