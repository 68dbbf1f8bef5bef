"""The paper's tables 1 to 13 as values: read from `tables.json`, never computed. Light to import.

Metrics carry our names and our units: percent, CIDEr times 100.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import ConfigError, Fault

TABLES_FILE = Path(__file__).with_name("tables.json")
MARKS: Mapping[str, str] = {"": "", "repaired": "†", "disputed": "?"}
"""How a cell of each standing is marked where it is shown."""
LEGEND = "† repaired: printed in another place or order; ? disputed: contradicts itself or a table"

Standing = Literal["", "repaired", "disputed"]


@dataclass(frozen=True)
class PaperColumn:
    """One column of a table."""

    dataset: str
    heading: str
    """The paper's name of the metric, on the right data set."""
    metric: str
    """Our name of it, such as "scanrefer/acc@0.25"."""
    printed: str = ""
    """The head that is printed, where it is wrong."""


@dataclass(frozen=True)
class PaperCell:
    """One number as it is to be read, and as it is printed."""

    value: float | None
    """None is a dash."""
    standing: Standing = ""
    printed: float | None = None
    """Equal to `value` unless the cell is repaired."""
    why: str = ""

    @property
    def mark(self) -> str:
        """The sign of its standing."""
        return MARKS[self.standing]


@dataclass(frozen=True)
class Setting:
    """What a row of the paper was trained with, in our terms. None: any."""

    student: str
    teacher: str
    correspondence: bool
    layers: tuple[int, ...] | None = None
    loss: str | None = None


@dataclass(frozen=True)
class PaperRow:
    """One method, or one setting of an ablation."""

    method: str
    cells: Mapping[str, PaperCell]
    """Metric -> number."""
    group: str = ""
    setting: Setting | None = None
    """Only for rows that a grid of ours can run."""


@dataclass(frozen=True)
class PaperTable:
    """One table."""

    name: str
    title: str
    columns: tuple[PaperColumn, ...]
    rows: tuple[PaperRow, ...]
    notes: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Our names of its columns, in their order."""
        return tuple(column.metric for column in self.columns)

    @property
    def remarks(self) -> Iterator[tuple[PaperRow, PaperColumn, PaperCell]]:
        """The cells that are marked, with their reasons."""
        for row in self.rows:
            for column in self.columns:
                cell = row.cells[column.metric]
                if cell.standing:
                    yield row, column, cell


@cache
def paper_tables() -> Mapping[str, PaperTable]:
    """All tables, "table1" to "table13"."""
    content = json.loads(TABLES_FILE.read_text(encoding="utf-8"))
    return {name: _table(name, values) for name, values in content["tables"].items()}


def paper_table(name: str) -> PaperTable:
    """One table by its name.

    Raises:
        ConfigError: there is none; suggests the nearest.
    """
    tables = paper_tables()
    if name not in tables:
        fault = f"no table {name!r} in the paper, only table1 to table{len(tables)}"
        raise ConfigError([Fault(fault + did_you_mean(name, tables))])
    return tables[name]


def _table(name: str, values: Mapping[str, Any]) -> PaperTable:
    columns = tuple(PaperColumn(**column) for column in values["columns"])
    remarks = {(each["row"], each["metric"]): each for each in values["remarks"]}
    rows = tuple(_row(row, columns, remarks) for row in values["rows"])
    return PaperTable(name, values["title"], columns, rows, tuple(values["notes"]))


def _row(
    row: Mapping[str, Any],
    columns: tuple[PaperColumn, ...],
    remarks: Mapping[tuple[str, str], Mapping[str, Any]],
) -> PaperRow:
    cells = {
        column.metric: _cell(value, remarks.get((row["method"], column.metric)))
        for column, value in zip(columns, row["values"], strict=True)
    }
    setting = row.get("setting")
    return PaperRow(
        row["method"],
        cells,
        row.get("group", ""),
        None if setting is None else Setting(**{**setting, "layers": _layers(setting)}),
    )


def _cell(value: float | None, remark: Mapping[str, Any] | None) -> PaperCell:
    if remark is None:
        return PaperCell(value, printed=value)
    return PaperCell(value, remark["kind"], remark.get("printed", value), remark["why"])


def _layers(setting: Mapping[str, Any]) -> tuple[int, ...] | None:
    return tuple(setting["layers"]) if "layers" in setting else None
