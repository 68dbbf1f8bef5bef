"""A cell's metrics against the baseline's, and one of them by question type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from threedrs_components.report.metric_words import explain
from threedrs_components.report.notation import entry_text, plain
from threedrs_components.report.table import (
    EFFORT,
    Entry,
    ResultTable,
    is_headline,
    is_setup,
    result_table,
)
from threedrs_dashboards.cell.subject import Subject
from threedrs_dashboards.charts import INK, Chart, whiskers
from threedrs_dashboards.choices import first_of
from threedrs_dashboards.tables import Table
from threedrs_platform.database.measurements import Measurement, RunResults
from threedrs_platform.records import Metric

EVERY = ("*",)


@dataclass(frozen=True)
class Number:
    """One metric of the cell."""

    name: str
    unit: str
    here: Metric | None
    """Under the chosen seed; None where it is missing."""
    mean: str
    """Mean ± sd over seeds."""
    baseline: str

    @property
    def value(self) -> str:
        """Under the chosen seed."""
        return "missing" if self.here is None else plain(self.here.value, self.unit)

    @property
    def interval(self) -> str:
        """95 % interval under the chosen seed; empty where there is none."""
        if self.here is None or self.here.ci95 is None:
            return ""
        low, high = self.here.ci95
        return f"[{plain(low, self.unit)}, {plain(high, self.unit)}]"


def comparison(subject: Subject) -> ResultTable:
    """Every metric of the cell and of the baseline."""
    others = () if subject.is_baseline else subject.against
    results = RunResults(subject.run, (*subject.replicates, *others))
    return result_table(results, EVERY, subject.against[0].cell_id)


HEADLINES, MORE, SHARED = "Headlines", "More metrics", "Measured once and shared by cells"


def numbers(subject: Subject, table: ResultTable, wanted: Sequence[str]) -> dict[str, list[Number]]:
    """All metrics that the cell has or should have, under three headings.

    Args:
        wanted: what the grid shows first; nothing means the usual headlines.
    """
    mine = table.row(subject.cell.cell_id)
    base = table.row(subject.against[0].cell_id)
    found: dict[str, list[Number]] = {HEADLINES: [], MORE: [], SHARED: []}
    for column in table.columns:
        entry = mine.entries[column.name]
        if not entry.is_shown:
            continue
        measured = subject.cell.measurements.get(column.name)
        is_first = column.name in wanted if wanted else is_headline(column.name)
        heading = HEADLINES if is_first else SHARED if is_setup(column.name) else MORE
        found[heading].append(
            Number(
                name=column.name,
                unit=column.unit,
                here=measured.metric if measured else None,
                mean=entry_text(entry, column.unit),
                baseline=entry_text(base.entries[column.name], column.unit),
            )
        )
    order = list(first_of((number.name for number in found[HEADLINES]), wanted))
    found[HEADLINES].sort(key=lambda number: order.index(number.name))
    return found


def numbers_table(subject: Subject, table: ResultTable) -> Table:
    """The same in full precision, a row per metric and seed of both cells."""
    rows = [
        (cell.title, cell.seed, name, metric.value, metric.unit, metric.n, metric.chance,
         metric.majority, *(metric.ci95 or (None, None)))
        for row in table.rows
        for cell in row.replicates
        for name, metric in ((name, each.metric) for name, each in cell.measurements.items())
    ]  # fmt: skip
    header = (
        "cell",
        "seed",
        "metric",
        "value",
        "unit",
        "n",
        "chance",
        "majority",
        "ci_low",
        "ci_high",
    )
    return Table(header, rows)


def groups(measurements: Mapping[str, Measurement]) -> dict[str, list[str]]:
    """Metrics that are told by question type: metric -> the metric itself, then its types."""
    found: dict[str, list[str]] = {}
    for name in measurements:
        parent, _, _ = name.rpartition("/")
        is_effort = name.split("/")[0] in EFFORT
        if parent in measurements and not is_setup(name) and not is_effort:
            found.setdefault(parent, [parent]).append(name)
    return found


def questions_chart(
    subject: Subject, table: ResultTable, group: str, names: Sequence[str]
) -> Chart:
    """Bars per question type: the cell and the baseline, means over seeds, with chance."""
    base_id = subject.against[0].cell_id
    ids = [subject.cell.cell_id] + ([] if subject.is_baseline else [base_id])
    labels = [name.removeprefix(f"{group}/") if name != group else "all" for name in names]
    traces, rows = [], []
    for cell_id, pattern in zip(ids, ("", "/"), strict=False):
        row = table.row(cell_id)
        entries = [row.entries[name] for name in names]
        traces.append(_bars(row.title, labels, entries, pattern))
        rows += [
            (row.title, label, entry.mean, entry.sd, "/".join(map(str, entry.n)))
            for label, entry in zip(labels, entries, strict=True)
        ]
    columns = {column.name: column for column in table.columns}
    unit = columns[group].unit
    chances = [(label, columns[name].chance) for label, name in zip(labels, names, strict=True)]
    known = [(label, chance) for label, chance in chances if chance is not None]
    if known:
        traces.append(_chance([label for label, _ in known], [chance for _, chance in known]))
    return Chart(
        name="questions",
        title=f"{group} by question type",
        traces=traces,
        table=Table(("cell", "question_type", "mean", "sd", "n"), rows),
        summary="Means over seeds; whiskers are sd over seeds; diamonds mark chance.",
        layout={"yaxis": {"title": {"text": unit}, "rangemode": "tozero"}, "barmode": "group"},
        names=names,
    )


def _bars(
    title: str, labels: Sequence[str], entries: Sequence[Entry], pattern: str
) -> dict[str, object]:
    """Bars; each says what its question type means where the mouse rests on it."""
    return {
        "type": "bar",
        "name": title,
        "x": list(labels),
        "y": [entry.mean for entry in entries],
        "hovertext": [explain(label) for label in labels],
        "error_y": whiskers([entry.sd for entry in entries]),
        "marker": {"pattern": {"shape": pattern}},
    }


def _chance(labels: Sequence[str], values: Sequence[float]) -> dict[str, object]:
    marker = {"symbol": "diamond", "color": INK, "size": 9}
    return {"type": "scatter", "mode": "markers", "name": "chance", "x": list(labels),
            "y": list(values), "marker": marker}  # fmt: skip
