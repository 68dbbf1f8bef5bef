"""What stands on top of every report: what was compared, what is shown, what is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from threedrs_components.metrics.crossed import LEAST_SEEDS
from threedrs_components.report.comparison import Difference
from threedrs_components.report.honesty import is_rendered
from threedrs_components.report.notation import interval, signed
from threedrs_components.report.table import ResultTable
from threedrs_platform.states import StepState

OPENING_TITLE = "In short"
MOST_METRICS, MOST_CELLS = 3, 4
"""Named in a sentence; the others are counted."""


def opening(
    table: ResultTable, differences: Mapping[tuple[str, str], Difference], tests: int
) -> tuple[str, ...]:
    """Three sentences on a run; fewer where there is nothing to compare.

    Args:
        differences: (cell id, metric) -> that cell minus the baseline.
        tests: of the run's family.
    """
    if table.baseline is None:
        return ()
    compared = [each for each in differences.values() if each.both is not None]
    if len(table.rows) == 1 or not compared:
        return (_who(table) + ": nothing to compare yet.",) if len(table.rows) > 1 else ()
    judged = [each for each in compared if each.tests is not None]
    found = [each for each in judged if each.significant]
    return (
        f"{_who(table)}, {_chances(compared)}{_unfinished(table)}.",
        f"{_shown(table, found)} ({tests} tests, corrected by Holm).",
        f"Cannot be said: {'; '.join(_open(table, judged))}.",
    )


def _who(table: ResultTable) -> str:
    assert table.baseline is not None
    others = [row.title for row in table.rows if row.cell_id != table.baseline]
    listed = ", ".join(others) if len(others) <= MOST_CELLS else f"{len(others)} cells"
    return f"{listed} compared with {table.row(table.baseline).title}"


def _chances(compared: Sequence[Difference]) -> str:
    """How many seeds and scenes are behind the differences."""
    seeds = _range(each.both.seeds for each in compared if each.both)
    scenes = [each.over_scenes.scenes for each in compared if each.over_scenes]
    many = "seed" if seeds == "1" else "seeds"
    return f"{seeds} {many} in pairs" + (f", {_range(scenes)} scenes" if scenes else "")


def _range(numbers: Iterable[int]) -> str:
    known = sorted(set(numbers))
    return str(known[0]) if len(known) == 1 else f"{known[0]} to {known[-1]}"


def _unfinished(table: ResultTable) -> str:
    cells = [cell for row in table.rows for cell in row.replicates]
    done = sum(cell.state is StepState.SUCCEEDED for cell in cells)
    return "" if done == len(cells) else f"; {done} of {len(cells)} cells and seeds are finished"


def _shown(table: ResultTable, found: Sequence[Difference]) -> str:
    """What is beyond chance, and by how much, in the order of rows and columns."""
    if not found:
        few = all(len(row.seeds) < LEAST_SEEDS for row in table.rows)
        why = f", for which {LEAST_SEEDS} seeds are needed" if few else ""
        return f"Beyond the chance of seeds and scenes: nothing{why}"
    parts = []
    for row in table.rows:
        mine = [each for each in found if each.cell_id == row.cell_id]
        named = [_sized(table, each) for each in mine[:MOST_METRICS]]
        more = [f"{len(mine) - MOST_METRICS} more"] if len(mine) > MOST_METRICS else []
        if mine:
            parts.append(f"{row.title} {', '.join([*named, *more])}")
    more = [f"{len(parts) - MOST_CELLS} cells more"] if len(parts) > MOST_CELLS else []
    listed = "; ".join([*parts[:MOST_CELLS], *more])
    return f"Beyond the chance of seeds and scenes: {listed}"


def _sized(table: ResultTable, each: Difference) -> str:
    assert each.both is not None
    unit = next(column.unit for column in table.columns if column.name == each.metric)
    size = f"{signed(each.both.difference, unit)} {interval(each.both.interval, unit)}"
    return f"{each.metric} {size}".strip()


def _open(table: ResultTable, judged: Sequence[Difference]) -> list[str]:
    """What these numbers leave open."""
    quiet = [each for each in judged if each.is_quiet]
    here = [each for each in judged if each.significant_over_scenes and not each.significant]
    parts = []
    if quiet:
        parts.append(f"whether {len(quiet)} of {len(judged)} differences are more than chance")
    if here:
        parts.append(
            f"whether other seeds repeat {len(here)} that hold for these trained models (°)"
        )
    if any(cell.state is not StepState.SUCCEEDED for row in table.rows for cell in row.replicates):
        parts.append("what unfinished and failed cells would show")
    if is_rendered(table):
        parts.append("how large any of this is in real rooms: these are rendered")
    return parts or ["what was not measured"]
