"""A run's numbers beside those that the paper prints: which tables, which rows, what must be said.

Numbers from elsewhere are on another scale, so each table also has what both gain over their own
baseline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from threedrs_components.paper.tables import (
    LEGEND,
    PaperCell,
    PaperRow,
    PaperTable,
    paper_table,
    paper_tables,
)
from threedrs_components.report.honesty import is_micro
from threedrs_components.report.notation import ABSENT, entry_text, printed, signed
from threedrs_components.report.paper import paper_row, trained
from threedrs_components.report.sheets import MOST_METRIC_COLUMNS, Sheet
from threedrs_components.report.table import ResultTable, Row
from threedrs_components.report.yardstick import NEVER, NOTE, PERCENT, is_released, yardsticks
from threedrs_platform.errors import ConfigError, Fault

DETAILS = ("table7", "table8", "table9", "table10", "table11")
"""The appendix, one benchmark each: shown when asked for."""
ONE_RUN = "The paper prints one run per row, without seeds or spread."
OTHER_SCALE = (
    "Scales differ: the paper's numbers are of ScanNet and 7B students, ours of rendered rooms and "
    "micro students. Compare the signs of the gains, never the numbers."
)


@dataclass(frozen=True)
class Beside:
    """One table of the paper and the cells of ours that have a row in it."""

    paper: PaperTable
    metrics: tuple[str, ...]
    """Columns that are shown."""
    rows: tuple[tuple[Row, PaperRow], ...]
    baseline: tuple[Row, PaperRow] | None
    """Ours and the paper's, where both are in the table."""

    @property
    def says(self) -> frozenset[tuple[str, str, float | None]]:
        """Which numbers that we measured stand beside which of the paper's."""
        return frozenset(
            (row.cell_id, metric, theirs.cells[metric].value)
            for row, theirs in self.rows
            for metric in self.metrics
            if row.entries.get(metric, NEVER).values
        )


def beside_paper(
    table: ResultTable, name: str | None = None, metrics: Sequence[str] = ()
) -> list[Beside]:
    """The paper's tables that know cells of this run.

    Args:
        table: of the run, with all metrics.
        name: one table, "table4"; by default that of the run's own name, and all but DETAILS that
            have rows for at least two cells and say something that no other does.
        metrics: patterns of the columns to show; all by default.

    Raises:
        ConfigError: no such table, or it knows none of the cells, or no column matches.
    """
    tables = paper_tables().values() if name is None else [paper_table(name)]
    known = [found for each in tables if (found := _beside(table, each, metrics))]
    if not known:
        what = f"{name} of the paper has" if name else "the paper's tables have"
        fault = f"{what} no row that trained what a cell of this run trained, with these metrics"
        raise ConfigError([Fault(fault, file="--compare")])
    return known if name else _telling(known, table.results.run.name)


def _beside(table: ResultTable, paper: PaperTable, patterns: Sequence[str]) -> Beside | None:
    shown = tuple(
        metric
        for metric in paper.metrics
        if not patterns or any(fnmatchcase(metric, each) for each in patterns)
    )
    pairs = [(row, paper_row(paper, trained(row.replicates[0].params))) for row in table.rows]
    rows = tuple((row, theirs) for row, theirs in pairs if theirs is not None)
    base = next((pair for pair in rows if pair[0].cell_id == table.baseline), None)
    return Beside(paper, shown, rows, base) if rows and shown else None


def _telling(known: Sequence[Beside], run: str) -> list[Beside]:
    """The run's own table first ("table5-smoke", too), then what adds to it, or the best table."""
    own = [each for each in known if each.paper.name == run.split("-")[0]]
    main = [each for each in known if each.paper.name not in DETAILS]
    rich = [each for each in main if len({id(theirs) for _, theirs in each.rows}) > 1]
    chosen = list(own)
    for each in sorted(rich, key=lambda each: -len(each.says)):
        if not any(each.says <= other.says for other in chosen):
            chosen.append(each)
    order = [each.paper.name for each in known]
    rest = sorted(chosen[len(own) :], key=lambda each: order.index(each.paper.name))
    return [*own, *rest] or [max(main or known, key=lambda each: len(each.says))]


def paper_sheets(found: Sequence[Beside], pivot: bool = False) -> list[Sheet]:
    """Ours and the paper's as tables of text; `pivot` exchanges default rows and columns.

    Where published weights were evaluated, too, each method has a table of its own.
    """
    made = []
    for each in found:
        if threefold := yardsticks(each.rows, each.metrics, _title(each.paper)):
            made += [sheet.turned() if pivot else sheet for sheet in threefold]
            continue
        turn = (len(each.metrics) > MOST_METRIC_COLUMNS) != pivot
        pair = [_numbers(each), *([_gains(each)] if each.baseline else [])]
        made += [sheet.turned() if turn else sheet for sheet in pair if sheet.rows]
    return made


def paper_notes(found: Sequence[Beside], table: ResultTable) -> list[str]:
    """What must be said with these numbers: scales, repaired cells, and what is odd in a table."""
    micro = any(is_micro(row.replicates[0].settings) for row in table.rows)
    notes = [OTHER_SCALE] if micro else []
    notes.append(ONE_RUN)
    if any(is_released(row) for each in found for row, _ in each.rows):
        notes.append(NOTE)
    shown = {each.paper.name for each in found}
    if more := [name for name in DETAILS if name not in shown]:
        notes.append(f"Benchmark by benchmark: --compare paper:{more[0]} to paper:{more[-1]}.")
    for each in found:
        title = _title(each.paper)
        notes += [f"{title}: {note}" for note in each.paper.notes]
        notes += [f"{title}, {line}" for line in _remarks(each)]
    return notes


def _remarks(each: Beside) -> Iterator[str]:
    """The reasons of marked cells that are shown, equal ones together."""
    shown = {id(theirs) for _, theirs in each.rows}
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for row, column, cell in each.paper.remarks:
        if id(row) in shown and column.metric in each.metrics:
            other = "" if cell.printed == cell.value else f" (printed: {printed(cell.printed)})"
            about = f"{column.dataset} {column.heading}{other}"
            reasons.setdefault((row.method, cell.mark, cell.why), []).append(about)
    for (method, mark, why), cells in reasons.items():
        yield f"{method}: {', '.join(cells)} {mark}: {why}"


def _title(paper: PaperTable) -> str:
    return paper.name.replace("table", "Table ")


def _numbers(each: Beside) -> Sheet:
    rows = []
    for row, theirs in each.rows:
        ours = (entry_text(row.entries.get(metric, NEVER), PERCENT) for metric in each.metrics)
        rows.append((f"ours: {row.title}", *ours))
        cells = (theirs.cells[metric] for metric in each.metrics)
        rows.append(
            (f"paper: {theirs.method}", *(printed(cell.value) + cell.mark for cell in cells))
        )
    title = f"{_title(each.paper)} of the paper, {each.paper.title}: ours beside it (%)"
    marked = any(cell.mark for _, theirs in each.rows for cell in theirs.cells.values())
    return Sheet(title, ("", *each.metrics), tuple(rows), LEGEND if marked else "")


def _gains(each: Beside) -> Sheet:
    """Differences to the baseline: the paper's signs may be compared whatever the scale."""
    assert each.baseline is not None
    base, theirs_base = each.baseline
    rows = []
    for row, theirs in each.rows:
        if row.cell_id != base.cell_id and theirs is not theirs_base:
            rows.append(
                (f"ours: {row.title}", *(_signed(_gain(row, base, m)) for m in each.metrics))
            )
            gains = (_paper_gain(theirs, theirs_base, metric) for metric in each.metrics)
            rows.append((f"paper: {theirs.method}", *map(_signed, gains)))
    title = f"{_title(each.paper)}: gain over {base.title} (ours) and {theirs_base.method} (paper)"
    return Sheet(title, ("", *each.metrics), tuple(rows))


def _gain(row: Row, base: Row, metric: str) -> float | None:
    """Mean over the seeds that both have."""
    mine, other = (each.entries.get(metric, NEVER).values for each in (row, base))
    seeds = mine.keys() & other.keys()
    return sum(mine[seed] - other[seed] for seed in seeds) / len(seeds) if seeds else None


def _paper_gain(row: PaperRow, base: PaperRow, metric: str) -> float | None:
    mine, other = row.cells[metric].value, base.cells[metric].value
    return None if mine is None or other is None else mine - other


def _signed(value: float | None) -> str:
    return ABSENT if value is None else signed(value, PERCENT)


def paper_json(found: Sequence[Beside], notes: Sequence[str]) -> dict[str, Any]:
    """The comparison as JSON values."""
    return {"tables": [_table_json(each) for each in found], "notes": list(notes)}


def _table_json(each: Beside) -> dict[str, Any]:
    return {
        "name": each.paper.name,
        "title": each.paper.title,
        "notes": list(each.paper.notes),
        "rows": [
            {
                "cell_id": row.cell_id,
                "cell": row.title,
                "method": theirs.method,
                "is_released": is_released(row),
                "is_baseline": each.baseline is not None and each.baseline[0] is row,
                "metrics": {metric: _cell_json(row, theirs, metric) for metric in each.metrics},
            }
            for row, theirs in each.rows
        ],
    }


def _cell_json(row: Row, theirs: PaperRow, metric: str) -> Mapping[str, Any]:
    entry, cell = row.entries.get(metric, NEVER), theirs.cells[metric]
    return {
        "ours": {"mean": entry.mean, "sd": entry.sd, "seeds": len(entry.values)},
        "paper": _paper_json(cell),
    }


def _paper_json(cell: PaperCell) -> dict[str, Any]:
    content: dict[str, Any] = {"value": cell.value}
    if cell.standing:
        content |= {"standing": cell.standing, "printed": cell.printed, "why": cell.why}
    return content
