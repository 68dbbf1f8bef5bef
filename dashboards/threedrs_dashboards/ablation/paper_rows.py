"""The paper's numbers beside a run's cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from threedrs_components.paper.tables import LEGEND, PaperRow, PaperTable, paper_tables
from threedrs_components.report.paper import paper_row, trained
from threedrs_components.report.table import Row

NONE = "none"
CAVEAT = "The paper's numbers come from ScanNet scenes and 7B students."


@dataclass(frozen=True)
class Beside:
    """One of the paper's tables, with the rows that some cells of a run have in it."""

    table: PaperTable
    rows: Mapping[str, PaperRow]
    """Cell id -> row."""

    @property
    def note(self) -> str:
        """What has to be said with these numbers."""
        title = f"{self.table.name.replace('table', 'Table ')} of the paper: {self.table.title}."
        return f"{title} {CAVEAT} {LEGEND}."

    def text(self, cells: Sequence[Row], metric: str) -> str:
        """The number that stands beside a group of cells; empty unless they share one row."""
        found = {id(row): row for cell in cells if (row := self.rows.get(cell.cell_id)) is not None}
        if len(found) != 1 or len(cells) != sum(cell.cell_id in self.rows for cell in cells):
            return ""
        (row,) = found.values()
        cell = row.cells.get(metric)
        return "" if cell is None or cell.value is None else f"{cell.value}{cell.mark}"


def beside(rows: Sequence[Row], metrics: Sequence[str]) -> dict[str, Beside]:
    """The tables that say something about at least one of these cells and metrics, by name;
    the one that knows most cells comes first."""
    told = {name: each for name, each in paper_tables().items() if {*each.metrics} & {*metrics}}
    mine = {row.cell_id: trained(row.replicates[0].settings) for row in rows} if told else {}
    found = {}
    for name, table in told.items():
        known = {
            cell_id: row
            for cell_id, cell in mine.items()
            if (row := paper_row(table, cell)) is not None
        }
        if known:
            found[name] = Beside(table, known)
    shown = set(metrics)

    def knowledge(item: tuple[str, Beside]) -> tuple[int, int]:
        distinct = {id(row) for row in item[1].rows.values()}
        return -len(distinct), -len(shown & set(item[1].table.metrics))

    return dict(sorted(found.items(), key=knowledge))
