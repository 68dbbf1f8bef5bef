"""A report as rows of plain text, ready for any format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from threedrs_components.report.comparison import Difference, Family
from threedrs_components.report.document import Report
from threedrs_components.report.findings import summary
from threedrs_components.report.notation import (
    ABSENT,
    entry_text,
    interval,
    p_value,
    plain,
    signed,
)
from threedrs_components.report.table import Column, ResultTable, Row, is_setup, tells
from threedrs_platform.database.measurements import Measurement

MOST_METRIC_COLUMNS = 6
"""With more metrics than this they become the rows, unless the reader says otherwise."""
MARKS = (
    "* significant over seeds and scenes (three seeds or more); "
    "° over scenes only (paired exchange of scenes): true of these trained models; "
    "no mark: tested, not told apart from chance; ? not tested"
)
SHARED = "measured once and shared"
"""Title of the numbers of steps that several cells have in common."""
CLAIMS_TITLE = "The paper's claims in this run"


@dataclass(frozen=True)
class Sheet:
    """One table of text; the first column names the row."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    legend: str = ""
    best: frozenset[tuple[int, int]] = frozenset()
    """(row, column) of the cells to set in bold."""

    def turned(self) -> Sheet:
        """Rows and columns exchanged."""
        header, *rows = zip(self.header, *self.rows, strict=True)
        best = frozenset((column - 1, row + 1) for row, column in self.best)
        return Sheet(self.title, tuple(header), tuple(rows), self.legend, best)


def sheets(report: Report, pivot: bool = False) -> list[Sheet]:
    """Results, differences, quartiles, shared steps. `pivot` exchanges default rows and columns."""
    setup = _setup(report)
    shared = [setup] if setup.rows else []
    if not report.table.columns:
        return [_states(report.table), *shared]
    turn = (len(report.table.columns) > MOST_METRIC_COLUMNS) != pivot
    made = [_results(report.table)]
    if report.differences:
        made.append(_differences(report))
    made = [sheet.turned() if turn else sheet for sheet in made]
    if report.trends:
        made += [_quartiles(report), _sample_quartiles(report)]
    return [*made, *shared]


def paragraphs(report: Report) -> list[tuple[str, list[str]]]:
    """Headed lists of sentences that follow the tables; empty ones are left out."""
    parts = [
        ("Missing", _missing(report.table)),
        ("Against the baseline", list(verdicts(report))),
        (CLAIMS_TITLE, [summary(report.findings), *map(str, report.findings)]),
        ("Read with care", list(report.notes)),
    ]
    return [(title, lines) for title, lines in parts if any(lines)]


def verdicts(report: Report) -> Iterator[str]:
    """Per cell: which metrics are higher or lower, and that the others do not differ."""
    for row in report.table.rows:
        mine = [each for (cell_id, _), each in report.differences.items() if cell_id == row.cell_id]
        if mine:
            yield f"{row.title}: {'; '.join(_verdict_parts(mine))}"


def _verdict_parts(differences: Sequence[Difference]) -> Iterator[str]:
    """Findings with their metrics; what shows nothing is only counted."""
    groups: dict[str, list[Difference]] = {}
    for each in differences:
        if not each.is_quiet:
            groups.setdefault(each.verdict, []).append(each)
    for verdict, group in groups.items():
        yield f"{verdict}: {', '.join(each.metric for each in group)}"
    quiet = [each for each in differences if each.is_quiet]
    if quiet:
        told = dict.fromkeys(each.verdict for each in quiet)
        # "one seed cannot show more" is said already by what says it of these scenes.
        why = "; ".join(one for one in told if not any(one in each for each in {*told} - {one}))
        every = len(quiet) == len(differences)
        many = "every metric" if every else f"{len(quiet)} of {len(differences)} metrics"
        yield f"{why} (in {many})"


def difference_text(difference: Difference, unit: str) -> str:
    """ "+23.3 [+10.1, +36.5] *"."""
    if difference.both is None:
        return "no common seed"
    mark = "*" if difference.significant else "°" if difference.significant_over_scenes else ""
    if not difference.is_tested:
        mark = "?"
    value = signed(difference.both.difference, unit)
    return " ".join(filter(None, (value, interval(difference.both.interval, unit), mark)))


def family_text(family: Family) -> str:
    """Which tests a run makes, in one sentence."""
    untested = len(family.differences) + family.awaited - len(family)
    parts = [f"{family.awaited} of them without numbers yet"] if family.awaited else []
    parts += [f"{untested} more that nothing can test do not count"] if untested else []
    told = f" ({'; '.join(parts)})" if parts else ""
    return (
        f"p values corrected (Holm) over the run's {len(family)} tested differences{told}, "
        f"whatever is shown: every cell in {', '.join(family.metrics) or 'no metric'}, "
        "and the claims"
    )


def _results(table: ResultTable) -> Sheet:
    header = ("cell", "seeds", *(_heading(column) for column in table.columns))
    rows = [_result_row(table, row) for row in table.rows]
    rows += [(name, "", *cells) for name, cells in references(table.columns).items()]
    run = table.results.run
    return Sheet(
        title=f"{run.name} ({run.run_id}, {run.state}): {_over(table)}",
        header=header,
        rows=tuple(rows),
    )


def _over(table: ResultTable) -> str:
    """What numbers are of; of one seed there is no spread."""
    several = any(len(row.seeds) > 1 for row in table.rows)
    return "mean ± sd over seeds" if several else "one seed, so no spread"


def _result_row(table: ResultTable, row: Row) -> tuple[str, ...]:
    entries = (entry_text(row.entries[column.name], column.unit) for column in table.columns)
    return (row.title, f"{row.done}/{len(row.seeds)}", *entries)


_REFERENCES: tuple[tuple[str, Callable[[Column], str]], ...] = (
    ("chance", lambda column: plain(column.chance, column.unit)),
    ("majority", lambda column: plain(column.majority, column.unit)),
    ("n", lambda column: _counts(column.n)),
)


def references(columns: Sequence[Column]) -> dict[str, list[str]]:
    """What metrics are to be read against: chance, the majority's answer, and n; what no metric
    has is left out."""
    told = {name: [pick(column) for column in columns] for name, pick in _REFERENCES}
    return {name: cells for name, cells in told.items() if any(each != ABSENT for each in cells)}


def _counts(n: Sequence[int]) -> str:
    if not n:
        return ABSENT
    return str(n[0]) if len(n) == 1 else f"{n[0]} to {n[-1]}"


def _heading(column: Column) -> str:
    return f"{column.name} ({column.unit})" if column.unit else column.name


def _differences(report: Report) -> Sheet:
    table = report.table
    assert table.baseline is not None
    rows = []
    for row in table.rows:
        if row.cell_id == table.baseline:
            continue
        found = (report.differences.get((row.cell_id, column.name)) for column in table.columns)
        texts = (
            ABSENT if each is None else difference_text(each, column.unit)
            for each, column in zip(found, table.columns, strict=True)
        )
        rows.append((row.title, *texts))
    return Sheet(
        title=f"difference to {table.row(table.baseline).title} "
        f"[{_interval_over(report.differences.values())}]",
        header=("cell", *(_heading(column) for column in table.columns)),
        rows=tuple(rows),
        legend=f"{MARKS}; {family_text(report.family)}",
    )


def _interval_over(differences: Iterable[Difference]) -> str:
    """What an interval allows for: other seeds can only be allowed for where there are several."""
    if any(each.both is not None and each.both.seeds > 1 for each in differences):
        return "95 % interval over seeds and scenes"
    return "95 % interval over scenes, one seed"


def _quartiles(report: Report) -> Sheet:
    rows = []
    for trend in report.trends:
        means = (plain(mean, trend.unit) for mean in trend.quartiles.means)
        rows.append(
            (
                trend.title,
                trend.metric,
                *means,
                str(sum(trend.quartiles.counts)),
                f"{trend.quartiles.trend:+.2f}",
                p_value(trend.quartiles.trend_p_value),
            )
        )
    return Sheet(
        title="by quartile of the scene's correspondence score",
        header=("cell", "metric", "Q1", "Q2", "Q3", "Q4", "scenes", "tau", "trend"),
        rows=tuple(rows),
    )


def _sample_quartiles(report: Report) -> Sheet:
    rows = []
    for trend in report.trends:
        means = (plain(mean, trend.unit) for mean in trend.of_samples.means)
        counts = "/".join(str(count) for count in trend.of_samples.counts)
        rows.append((trend.title, trend.metric, *means, counts))
    return Sheet(
        title="the same by quartile of samples, as the paper's Figure 2",
        header=("cell", "metric", "Q1", "Q2", "Q3", "Q4", "samples"),
        rows=tuple(rows),
        legend="Samples of one scene share its score and are not independent: nothing is tested.",
    )


def _setup(report: Report) -> Sheet:
    """What was measured once for all cells: each number of each step, with its trivial baseline."""
    shown = {column.name for column in report.table.columns}
    users: dict[tuple[str, Measurement], list[str]] = {}
    for row in report.table.rows:
        for cell in row.replicates:
            for name, measurement in cell.measurements.items():
                if is_setup(name) and name not in shown and tells(measurement.metric):
                    users.setdefault((name, measurement), []).append(row.title)
    rows = []
    for (name, measurement), titles in users.items():
        metric = measurement.metric
        cells = list(dict.fromkeys(titles))
        more = f" + {len(cells) - 1}" if len(cells) > 1 else ""
        whose = "all cells" if len(cells) == len(report.table.rows) else cells[0] + more
        value, trivial = plain(metric.value, metric.unit), plain(metric.chance, metric.unit)
        rows.append((name, value, trivial, metric.unit, str(metric.n), whose))
    header = ("metric", "value", "trivial guess", "unit", "n", "made for")
    return Sheet(SHARED, header, tuple(rows))


def _states(table: ResultTable) -> Sheet:
    rows = tuple(
        (row.title, f"{row.done}/{len(row.seeds)}", str(row.replicates[0].state))
        for row in table.rows
    )
    run = table.results.run
    return Sheet(
        f"{run.name} ({run.run_id}, {run.state}): no metric yet", ("cell", "seeds", "state"), rows
    )


def _missing(table: ResultTable) -> list[str]:
    """Per cell and cause the seeds that are missing, and the metrics if not all of them are."""
    return [
        f"{row.title}, {_seeds(seeds)}: {cause}" + ("" if every else f" ({', '.join(names)})")
        for row in table.rows
        for (cause, names), seeds in _causes(row).items()
        for every in [len(names) == len(table.columns)]
    ]


def _causes(row: Row) -> dict[tuple[str, tuple[str, ...]], list[int]]:
    """(cause, metrics that are missing for it) -> seeds."""
    metrics: dict[tuple[int, str], list[str]] = {}
    for name, entry in row.entries.items():
        for seed, cause in entry.reasons.items():
            metrics.setdefault((seed, cause), []).append(name)
    seeds: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for (seed, cause), names in metrics.items():
        seeds.setdefault((cause, tuple(names)), []).append(seed)
    return seeds


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
