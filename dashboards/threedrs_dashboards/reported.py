"""The report of a run, as `workflows results` prints it: behind a page and a file of figures."""

from __future__ import annotations

from threedrs_components.report.document import Report, make_report
from threedrs_dashboards.store import Store
from threedrs_platform.database.grid_choice import grid_choice
from threedrs_platform.database.measurements import RunSummary, SceneTotals
from threedrs_platform.database.runs import Runs


def report_of(store: Store, run: RunSummary) -> tuple[Report, SceneTotals]:
    """A run's report, and the sums by scene that it was made of."""
    results = store.results.run_results(run.run_id)
    totals = store.results.scene_totals(results)
    choice = grid_choice(store.database, run.run_id)
    report = make_report(
        results,
        totals,
        compare_to=choice.compare_to,
        reported=choice.metrics,
        smoke=bool(Runs(store.database).get(run.run_id).options.get("smoke")),
    )
    return report, totals
