"""What stands on top of every report: what was compared, what is shown, what is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from threedrs_components.metrics.crossed import LEAST_SEEDS
from threedrs_components.report.comparison import Difference, Family, Key
from threedrs_components.report.honesty import is_rendered
from threedrs_components.report.notation import interval, signed
from threedrs_components.report.table import ResultTable
from threedrs_platform.states import StepState

OPENING_TITLE = "In short"
MOST_METRICS, MOST_CELLS = 3, 4
"""Named in a sentence; the others are counted."""


def opening(
    table: ResultTable,
    whole: ResultTable,
    differences: Mapping[tuple[str, str], Difference],
    family: Family,
) -> tuple[str, ...]:
    """Three sentences on a run; fewer where there is nothing to compare.

    All are of the whole run, so that a choice of rows or metrics hides no finding; the first names
    the cells that are shown, and how many of them are finished.

    Args:
        table: what is shown.
        whole: all cells and metrics of the run.
        differences: (cell id, metric) -> that shown cell minus the baseline.
        family: the run's tests.
    """
    if table.baseline is None or len(table.rows) == 1:
        return ()
    judged = {key: each for key, each in family.differences.items() if each.both is not None}
    compared = [*judged.values()] or [each for each in differences.values() if each.both]
    if not compared:
        return (_who(table) + ": nothing to compare yet.",)
    return (
        f"{_who(table)}, {_chances(compared)}{_unfinished(table)}.",
        f"{_shown(whole, judged, len(family))}.",
        f"Cannot be said: {'; '.join(_open(whole, [*judged.values()], len(family)))}.",
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


def _shown(whole: ResultTable, judged: Mapping[Key, Difference], tests: int) -> str:
    """What is beyond chance, and by how much; cells against the baseline first."""
    seeds = max((each.both.seeds for each in judged.values() if each.both), default=LEAST_SEEDS)
    needed = f"{LEAST_SEEDS} seeds are needed"
    if not tests:
        return "Nothing could be tested yet" + (f": {needed}" if seeds < LEAST_SEEDS else "")
    found = {key: each for key, each in judged.items() if each.significant}
    chance = f"Beyond the chance of {_sources((found or judged).values())}"
    behind = f"({_counted(tests, 'tested difference')}, corrected by Holm)"
    if not found:
        return f"{chance}: nothing{f', for which {needed}' if seeds < LEAST_SEEDS else ''} {behind}"
    parts = []
    for first, second in dict.fromkeys((first, second) for first, second, _ in found):
        mine = [each for key, each in found.items() if key[:2] == (first, second)]
        # One more is named: it may be the one that speaks against the rest.
        most = MOST_METRICS if len(mine) > MOST_METRICS + 1 else len(mine)
        named = [_sized(whole, each) for each in mine[:most]]
        more = [f"{len(mine) - most} more"] if len(mine) > most else []
        against = "" if first == whole.baseline else f" against {whole.row(first).title}"
        parts.append(f"{whole.row(second).title}{against} {', '.join([*named, *more])}")
    more = [f"{len(parts) - MOST_CELLS} cells more"] if len(parts) > MOST_CELLS else []
    return f"{chance}: {'; '.join([*parts[:MOST_CELLS], *more])} {behind}"


def _sources(differences: Iterable[Difference]) -> str:
    """What draws these differences at random, as far as it is known."""
    known = {bool(each.both.scenes) for each in differences if each.both}
    if known == {True, False}:
        return "seeds (and of scenes, where these are known)"
    return "seeds and scenes" if True in known else "seeds"


def _sized(whole: ResultTable, each: Difference) -> str:
    assert each.both is not None
    unit = next(column.unit for column in whole.columns if column.name == each.metric)
    size = f"{signed(each.both.difference, unit)} {interval(each.both.interval, unit)}"
    return f"{each.metric} {size}".strip()


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _open(whole: ResultTable, judged: Sequence[Difference], tests: int) -> list[str]:
    """What these numbers leave open."""
    tested = [each for each in judged if each.is_testable]
    quiet = [each for each in tested if each.is_quiet]
    here = [each for each in judged if each.significant_over_scenes and not each.significant]
    parts = []
    if quiet:
        of = _counted(tests, "tested difference")
        parts.append(f"whether {len(quiet)} of the {of} are more than chance")
    if untested := len(judged) - len(tested):
        parts.append(f"anything of {_counted(untested, 'difference')} that nothing can test")
    if here:
        parts.append(
            f"whether other seeds repeat {len(here)} that hold for these trained models (°)"
        )
    if any(cell.state is not StepState.SUCCEEDED for row in whole.rows for cell in row.replicates):
        parts.append("what unfinished and failed cells would show")
    if is_rendered(whole):
        parts.append("how large any of this is in real rooms: these are rendered")
    return parts or ["what was not measured"]
