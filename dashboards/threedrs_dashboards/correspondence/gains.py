"""What a score gained over the baseline: the run's own comparison, as its table shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from threedrs_components.report.comparison import Difference, compare_with_baseline
from threedrs_components.report.sheets import difference_text
from threedrs_components.report.table import arrange
from threedrs_dashboards.store import Store
from threedrs_platform.database.grid_choice import grid_choice

INTERVAL = "95 % interval over seeds and scenes, as in the Ablation table"


def gains(
    store: Store, run_id: str, score: str, cells: Sequence[str], baseline: str
) -> dict[str, Difference]:
    """Cell id -> a score's mean minus the baseline's, for cells that have one.

    Args:
        store: where the numbers are.
        run_id: of the cells.
        score: a metric.
        cells: ids.
        baseline: id of the cell they are compared with.
    """
    results = store.results.run_results(run_id, [score], cell_ids={*cells, baseline})
    table = arrange(results, [score], baseline)
    family = store.family(run_id, grid_choice(store.database, run_id), table.baseline)
    found = compare_with_baseline(table, family, store.results.scene_totals(results))
    return {cell_id: each for (cell_id, _), each in found.items() if each.both is not None}


def gain_words(found: Mapping[str, Difference], titles: Mapping[str, str], baseline: str) -> str:
    """How the cells that are shown differ from the baseline, in one sentence.

    Args:
        found: by cell id.
        titles: by cell id.
        baseline: title.
    """
    values = {cell: each.both.difference for cell, each in found.items() if each.both is not None}
    if not values:
        return ""
    most = max(values, key=lambda cell: values[cell])
    told = f"{titles[most]} {difference_text(found[most], '')}"
    said = f"{INTERVAL}: {found[most].verdict}"
    if len(values) == 1:
        return f"Difference to {baseline}: {told} ({said})."
    above = sum(value > 0 for value in values.values())
    if not above:
        return f"No cell is above {baseline}; least below: {told} ({said})."
    return f"{above} of {len(values)} cells are above {baseline}, most so {told} ({said})."
