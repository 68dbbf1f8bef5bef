"""Runs, and their numbers, as pandas tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from os import PathLike
from typing import Any

import pandas as pd

from threedrs_platform.database.measurements import CellResult, Measurement, flatten
from threedrs_platform.database.results import Results
from threedrs_platform.workspace import find_workspace

RUN_COLUMNS = ("run", "name", "state", "created", "finished", "grid_file")
RESULT_COLUMNS = (
    "run", "cell", "cell_id", "seed", "state", "missing", "metric", "value", "unit", "n",
    "ci_low", "ci_high", "chance", "majority",
)  # fmt: skip
"""Behind them stand settings, by their dotted names."""
NAMED_SETTING = re.compile(r"(?:^|,)([A-Za-z_][\w.]*)=")


def runs(workspace: str | PathLike[str] | None = None, database: str | None = None) -> pd.DataFrame:
    """All submissions, newest first: one row each, see `RUN_COLUMNS`; times are UTC.

    Args:
        workspace: folder; None is `THREEDRS_WORKSPACE` or `.threedrs`.
        database: URL; None is `THREEDRS_DATABASE_URL` or a file in the workspace.
    """
    with find_workspace(workspace, database, looks=True) as opened:
        found = Results(opened.database).run_summaries()
    rows = [
        (each.run_id, each.name, str(each.state), each.created_at, each.finished_at, each.grid_file)
        for each in found
    ]
    table = pd.DataFrame(rows, columns=[*RUN_COLUMNS])
    for name in ("created", "finished"):
        table[name] = pd.to_datetime(table[name].astype("float64"), unit="s", utc=True)
    return table


def results(
    run: str | None = None,
    metrics: Sequence[str] = (),
    settings: Sequence[str] | None = None,
    *,
    workspace: str | PathLike[str] | None = None,
    database: str | None = None,
) -> pd.DataFrame:
    """The numbers of a run: one row per cell, seed and metric, in the grid's order.

    A cell without any such number has one row, whose `metric` is None, whose `value` is NaN, and
    whose `missing` says why. Shares are percent.

    Args:
        run: id, its beginning, or a grid's name for the newest of its runs; None is the newest.
        metrics: patterns such as "scanrefer/*"; none is every metric.
        settings: dotted names of settings that stand beside the numbers; None is those that the
            grid varies. One that has no effect in a cell is missing there.
        workspace: as of `runs`.
        database: as of `runs`.

    Raises:
        ConfigError: there is no such run.
    """
    with find_workspace(workspace, database, with_runs=True) as opened:
        found = Results(opened.database)
        measured = found.run_results(found.find_run(run).run_id)
    settings = (
        settings if settings is not None else varied_settings(cell.name for cell in measured.cells)
    )
    rows = [
        {**row, **own}
        for cell in measured.cells
        for own in ({name: _plain(flatten(cell.params).get(name)) for name in settings},)
        for row in _rows(measured.run.run_id, cell, metrics)
    ]
    columns = [*RESULT_COLUMNS, *(name for name in settings if name not in RESULT_COLUMNS)]
    return pd.DataFrame(rows, columns=columns)


def varied_settings(names: Iterable[str]) -> list[str]:
    """Dotted names of the settings that tell cells apart, from the cells' own names."""
    return sorted({path for name in names for path in NAMED_SETTING.findall(name)})


def _rows(run_id: str, cell: CellResult, patterns: Sequence[str]) -> list[dict[str, Any]]:
    shown = {
        name: each
        for name, each in cell.measurements.items()
        if not patterns or any(fnmatch(name, pattern) for pattern in patterns)
    }
    about = {
        "run": run_id,
        "cell": cell.title,
        "cell_id": cell.cell_id,
        "seed": cell.seed,
        "state": str(cell.state),
        "missing": cell.missing_reason,
    }
    if not shown:
        return [{**about, "metric": None}]
    return [{**about, **_number(name, each)} for name, each in shown.items()]


def _number(name: str, measurement: Measurement) -> dict[str, Any]:
    metric = measurement.metric
    low, high = metric.ci95 or (None, None)
    return {
        "metric": name,
        "value": metric.value,
        "unit": metric.unit,
        "n": metric.n,
        "ci_low": low,
        "ci_high": high,
        "chance": metric.chance,
        "majority": metric.majority,
    }


def _plain(value: Any) -> Any:
    """What pandas can group by."""
    return repr(value) if isinstance(value, list | dict) else value
