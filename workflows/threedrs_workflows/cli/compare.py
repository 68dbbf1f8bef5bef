"""`workflows compare`: two cells of a run, or two runs, with tests and differing settings."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from threedrs_platform.garbage import uncollected
from threedrs_workflows.cli.output import print_json, terminal_width
from threedrs_workflows.cli.run_arguments import RUN_HELP

if TYPE_CHECKING:
    from threedrs_components.report.pair import MatchedRuns, Pair
    from threedrs_platform.database.measurements import CellResult, RunResults
    from threedrs_platform.database.results import Results

SUMMARY = "two cells or two runs: differences with their tests, settings that differ"

EXAMPLES = """\
examples:
  workflows compare baseline teacher=vggt            cells of the newest run
  workflows compare teacher=mae teacher=vggt --metric 'scanrefer/*'
  workflows compare baseline teacher=vggt --run ablations --settings
                                                     of that grid's newest run; all settings
  workflows compare ablations-20260101-120000-1a2b ablations-20260102-090000-3c4d
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    parser.add_argument("first", metavar="A", help="a cell's id, name or label; or a run")
    parser.add_argument("second", metavar="B", help="of the same sort as A")
    parser.add_argument("--run", metavar="RUN", help=f"whose cells: {RUN_HELP}")
    parser.add_argument(
        "--metric",
        metavar="PATTERN",
        action="append",
        default=[],
        help="show these, 'scanrefer/*'; may be repeated; default: those that the grid reports",
    )
    parser.add_argument(
        "--settings",
        action="store_true",
        help="list every setting that differs, those that one cell alone has too",
    )


@uncollected()
def run(args: argparse.Namespace) -> int:
    """Print the comparison."""
    from threedrs_platform.database.results import Results
    from threedrs_platform.workspace import find_workspace
    from threedrs_workflows.cli.run_cells import has_cell

    with find_workspace(args.workspace, args.db, with_runs=True) as workspace:
        store = Results(workspace.database)
        here = store.run_results(store.find_run(args.run).run_id)
        if has_cell(here, args.first) or args.run is not None:
            return _cells(args, store, here)
        _refuse_no_cell(store, here, args.first, args.second)
        return _runs(args, store)


def _refuse_no_cell(store: Results, here: RunResults, first: str, second: str) -> None:
    """A name that is no run's may be meant for a cell of the newest one.

    Raises:
        ConfigError: the first is neither; it is told what cells there are where the second is one,
            or where it is nearly one itself.
    """
    from threedrs_platform.config.suggestions import did_you_mean
    from threedrs_platform.errors import ConfigError
    from threedrs_workflows.cli.run_cells import cells_called, has_cell

    try:
        store.find_run(first)
    except ConfigError:
        near = "did you mean" in did_you_mean(first, {cell.title for cell in here.cells})
        if near or has_cell(here, second):
            cells_called(here, first)
        raise


def _cells(args: argparse.Namespace, store: Results, here: RunResults) -> int:
    from threedrs_components.report.document import EVERY_METRIC, run_family, stands_in
    from threedrs_components.report.pair import pair_cells
    from threedrs_components.report.table import present_baseline, result_table
    from threedrs_workflows.cli.run_cells import cells_called
    from threedrs_workflows.reports.run_report import report_choice

    first, second = cells_called(here, args.first), cells_called(here, args.second)
    totals = store.scene_totals(here)
    choice = report_choice(store.database, here.run.run_id)
    cells = (first[0].cell_id, second[0].cell_id)
    baseline = present_baseline(here, choice.compare_to)
    family = run_family(here, totals, choice.metrics, baseline, cells)
    pair = pair_cells(
        first,
        second,
        tuple(args.metric),
        (totals, totals),
        run=here,
        reported=choice.metrics,
        family=family,
    )
    names = (first[0].title, second[0].title)
    note = stands_in(result_table(here, EVERY_METRIC, baseline), choice.compare_to)
    if args.json:
        told = {"run": here.run.run_id, **_content(pair, names)}
        print_json("compare", {**told, "notes": [note]} if note else told)
    else:
        sys.stdout.write(f"{note}\n\n" if note else "")
        sys.stdout.write(_text(pair, names, args.settings))
    return 0


def _runs(args: argparse.Namespace, store: Results) -> int:
    from threedrs_components.report.pair import match_cells, pair_cells
    from threedrs_workflows.reports.run_report import report_choice

    first, second = (
        store.run_results(store.find_run(name).run_id) for name in (args.first, args.second)
    )
    totals = store.scene_totals(first), store.scene_totals(second)
    matched = match_cells(first, second)
    reported = report_choice(store.database, second.run.run_id).metrics
    metrics = tuple(args.metric)
    pairs = [
        (left, pair_cells(left, right, metrics, totals, run=second, reported=reported))
        for left, right in matched.pairs
    ]
    names = (first.run.run_id, second.run.run_id)
    if args.json:
        print_json("compare", _runs_content(pairs, matched, names))
    else:
        sys.stdout.write(_runs_text(pairs, matched, names, args.settings))
    return 0


def _content(pair: Pair, names: tuple[str, str]) -> dict[str, Any]:
    from threedrs_components.report.data import difference_json, finite, row_json

    values: dict[str, Any] = finite(
        {
            "first": {**row_json(pair.rows[0]), "title": names[0]},
            "second": {**row_json(pair.rows[1]), "title": names[1]},
            "differences": [difference_json(each) for each in pair.differences],
            "params": {name: list(values) for name, values in pair.params.items()},
        }
    )
    return values


def _runs_content(
    pairs: list[tuple[tuple[CellResult, ...], Pair]], matched: MatchedRuns, names: tuple[str, str]
) -> dict[str, Any]:
    return {
        "runs": list(names),
        "cells": [{"cell": left[0].title, **_content(pair, names)} for left, pair in pairs],
        "only_first": list(matched.only_first),
        "only_second": list(matched.only_second),
    }


def _text(pair: Pair, names: tuple[str, str], every_setting: bool) -> str:
    from threedrs_components.report.pair import pair_sheets
    from threedrs_components.report.render import sheets_text

    return sheets_text(pair_sheets(pair, names, every_setting), terminal_width())


def _runs_text(
    pairs: list[tuple[tuple[CellResult, ...], Pair]],
    matched: MatchedRuns,
    names: tuple[str, str],
    every_setting: bool,
) -> str:
    parts = [f"{left[0].title}\n{_text(pair, names, every_setting)}" for left, pair in pairs]
    alone = ((names[0], matched.only_first), (names[1], matched.only_second))
    parts += [f"only in {name}: {', '.join(cells)}\n" for name, cells in alone if cells]
    return "\n".join(parts)
