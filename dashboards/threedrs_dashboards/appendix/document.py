"""A run's report with its figures, as one HTML file and a folder of figures."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from threedrs_components.report.beside_paper import beside_paper, paper_notes, paper_sheets
from threedrs_components.report.document import EVERY_METRIC, Report
from threedrs_components.report.heat_maps import layer_map_figure
from threedrs_components.report.honesty import is_rendered
from threedrs_components.report.layer_map import layer_map_csv
from threedrs_components.report.render import latex, markdown
from threedrs_components.report.sheets import Sheet, paragraphs, sheets
from threedrs_components.report.table import ResultTable, present_baseline, result_table
from threedrs_dashboards.appendix.examples import Example, run_examples
from threedrs_dashboards.appendix.figures import MOST_CELLS, run_figures
from threedrs_dashboards.appendix.layer_map import write_layer_map
from threedrs_dashboards.appendix.vector import write_figure
from threedrs_dashboards.charts import Chart, plotly_script, style_ids
from threedrs_dashboards.reported import report_of
from threedrs_dashboards.store import Store
from threedrs_dashboards.tables import Table
from threedrs_dashboards.templating import environment
from threedrs_platform.database.grid_choice import grid_choice
from threedrs_platform.database.runs import Runs
from threedrs_platform.errors import ConfigError
from threedrs_platform.storage import place_errors

STATIC = Path(__file__).parents[1] / "static"


@dataclass(frozen=True)
class Appendix:
    """What is written."""

    report: Report
    charts: tuple[Chart, ...]
    paper: tuple[Sheet, ...]
    """The paper's numbers beside ours, where it has rows for some cells."""
    paper_notes: tuple[str, ...]
    grid_yaml: str
    examples: tuple[Example, ...] = ()


def make_appendix(store: Store, wanted: str | None) -> Appendix:
    """Read a run.

    Args:
        store: where from.
        wanted: id, its beginning, or grid name; None for the newest.

    Raises:
        ConfigError: there is no such run.
    """
    run = store.run(wanted)
    report, totals = report_of(store, run)
    charts = run_figures(store.database, report, totals)
    results, choice = report.table.results, grid_choice(store.database, run.run_id)
    baseline = present_baseline(results, choice.compare_to)
    paper, notes = _beside_paper(result_table(results, EVERY_METRIC, baseline))
    examples = tuple(run_examples(store, run))
    grid_yaml = Runs(store.database).get(run.run_id).grid_yaml
    return Appendix(report, tuple(charts), paper, notes, grid_yaml, examples)


def _beside_paper(table: ResultTable) -> tuple[tuple[Sheet, ...], tuple[str, ...]]:
    """Sheets and notes; none for a run of rendered rooms, or of which the paper has no row."""
    if is_rendered(table):
        return (), ()
    try:
        found = beside_paper(table)
    except ConfigError:
        return (), ()
    return tuple(paper_sheets(found)), tuple(paper_notes(found, table))


def write_appendix(appendix: Appendix, folder: Path) -> list[Path]:
    """Write `report.html`, `tables.tex`, `tables.md` and `figures/`, each with its data.

    Returns: the files.

    Raises:
        StorageError: the folder cannot be written.
    """
    texts = {
        "report.html": html_page(appendix),
        "tables.tex": latex(appendix.report),
        "tables.md": markdown(appendix.report),
        **{f"figures/{chart.name}.csv": data_of(chart).csv() for chart in appendix.charts},
    }
    if appendix.report.layer_map:
        texts["figures/layer_map.svg"] = layer_map_figure(appendix.report.layer_map)
        texts["figures/layer_map.csv"] = layer_map_csv(appendix.report.layer_map)
    with place_errors(f"write the report to {folder}"):
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        drawn = [
            file for chart in appendix.charts for file in write_figure(chart, folder / "figures")
        ]
        if appendix.report.layer_map:
            drawn.append(write_layer_map(appendix.report.layer_map, folder / "figures"))
    return [*(folder / name for name in texts), *drawn]


def html_page(appendix: Appendix) -> str:
    """A page that needs nothing beside itself: Plotly, styles and data are inside."""
    report = appendix.report
    context = {
        "run": report.table.results.run,
        "opening": report.opening,
        "sheets": [*sheets(report), *appendix.paper],
        "paragraphs": [*paragraphs(report), *_paper_paragraph(appendix)],
        "layer_map": Markup(layer_map_figure(report.layer_map)) if report.layer_map else "",
        "charts": [(chart, data_uri(data_of(chart))) for chart in appendix.charts],
        "examples": appendix.examples,
        "left_out": max(0, len(report.table.rows) - MOST_CELLS),
        "grid_yaml": appendix.grid_yaml,
        "style": Markup((STATIC / "style.css").read_text(encoding="utf-8")),
        "scripts": [_script(plotly_script()), _script(STATIC / "charts.js")],
        "style_ids": style_ids(),
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "is_best": is_best,
    }
    return environment().get_template("appendix.html").render(context)


def _paper_paragraph(appendix: Appendix) -> list[tuple[str, tuple[str, ...]]]:
    notes = appendix.paper_notes
    return [("Beside the paper", notes)] if notes else []


def is_best(sheet: Sheet, row: int, column: int) -> bool:
    """Whether a sheet's cell stands in bold."""
    return (row, column) in sheet.best


def _script(file: Path) -> Markup:
    """A script to stand inside a page; nothing in it may end the script early."""
    return Markup(file.read_text(encoding="utf-8").replace("</script", "<\\/script"))


def data_of(chart: Chart) -> Table:
    """The data behind a chart."""
    return chart.table if isinstance(chart.table, Table) else chart.table()


def data_uri(table: Table) -> str:
    """A table as a link that saves its CSV."""
    return "data:text/csv;base64," + base64.b64encode(table.csv().encode()).decode()
