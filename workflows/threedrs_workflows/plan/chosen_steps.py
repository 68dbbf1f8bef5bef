"""Which steps of a plan are meant by `KIND` or `KIND@CELL`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from threedrs_platform.database.claims import CellKey
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.steps import Cell
from threedrs_workflows.plan.graph import Graph


def chosen_steps(
    graph: Graph, cells: Sequence[Cell], wanted: Collection[str], flag: str
) -> set[str]:
    """Keys of the steps that `KIND` or `KIND@CELL` name.

    Raises:
        ConfigError: one of them names none; `flag` is where it stands.
    """
    chosen: set[str] = set()
    faults = []
    for target in wanted:
        kind, _, place = target.partition("@")
        found = {
            node.key
            for node in graph.nodes.values()
            if node.spec.kind == kind and (not place or node.cells & _named(cells, place))
        }
        if not found and place and kind in {node.spec.kind for node in graph.nodes.values()}:
            known = ", ".join(dict.fromkeys(cell.label or cell.name for cell in cells))
            faults.append(Fault(f"no cell {place!r} has a step {kind!r}; cells: {known}", flag))
        elif not found:
            kinds = sorted({node.spec.kind for node in graph.nodes.values()})
            faults.append(Fault(f"{target!r} names no step; kinds here: {', '.join(kinds)}", flag))
        chosen |= found
    if faults:
        raise ConfigError(faults)
    return chosen


def _named(cells: Sequence[Cell], place: str) -> set[CellKey]:
    return {
        CellKey(cell.cell_id, cell.seed)
        for cell in cells
        if place in (cell.cell_id, cell.name, cell.label)
    }
