"""How verbs name cells and steps of a run: CELL is an id, name or label; STEP[@CELL] a step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.database.measurements import CellResult, RunResults, StepSummary
from threedrs_platform.errors import ConfigError, Fault

SHORTEST_KEY = 6
"""So many digits of a step key are enough to mean a key."""


def cells_called(results: RunResults, wanted: str) -> tuple[CellResult, ...]:
    """All seeds of the cell with this id, name or label.

    Raises:
        ConfigError: there is none.
    """
    found = tuple(cell for cell in results.cells if wanted in _names(cell))
    if found:
        return found
    known = sorted({name for cell in results.cells for name in (cell.title, cell.name)})
    meant = [name for name in known if wanted in re.split("[=,]", name)]
    hint = f"; did you mean {meant[0]!r}?" if meant else did_you_mean(wanted, known)
    told = f"run {results.run.run_id} has no cell {wanted!r}{hint}; --run names another run"
    raise ConfigError([Fault(told)])


def of_seed(cells: Sequence[CellResult], seed: int) -> tuple[CellResult, ...]:
    """Those under one seed.

    Raises:
        ConfigError: there is none.
    """
    chosen = tuple(cell for cell in cells if cell.seed == seed)
    if not chosen:
        known = ", ".join(str(cell.seed) for cell in cells)
        raise ConfigError([Fault(f"no seed {seed}; known: {known}", path="--seed")])
    return chosen


def cell_of_seed(cells: Sequence[CellResult], seed: int | None) -> CellResult:
    """The one under this seed; under its lowest if None.

    Raises:
        ConfigError: there is none.
    """
    lowest = min(cells, key=lambda cell: cell.seed)
    return lowest if seed is None else of_seed(cells, seed)[0]


def has_cell(results: RunResults, wanted: str) -> bool:
    """Whether a cell has this id, name or label."""
    return any(wanted in _names(cell) for cell in results.cells)


def steps_called(results: RunResults, wanted: str) -> tuple[tuple[StepSummary, list[str]], ...]:
    """Unique steps that `STEP[@CELL]` means, each with the titles of the cells that share it.

    Args:
        wanted: STEP is a role or kind ("finetune") or the beginning of a key.

    Raises:
        ConfigError: no step is meant.
    """
    name, _, cell = wanted.partition("@")
    cells = cells_called(results, cell) if cell else results.cells
    users: dict[str, list[str]] = {}
    steps: dict[str, StepSummary] = {}
    for each in cells:
        for step in each.steps:
            if _is_called(step, name):
                steps.setdefault(step.key, step)
                users.setdefault(step.key, []).append(f"{each.title} seed {each.seed}")
    if not steps:
        hint = did_you_mean(name, _roles(cells))
        raise ConfigError([Fault(f"run {results.run.run_id} has no step {wanted!r}{hint}")])
    return tuple((step, users[key]) for key, step in steps.items())


def _names(cell: CellResult) -> Sequence[str]:
    return (cell.cell_id, cell.name, cell.label, cell.title)


def _is_called(step: StepSummary, name: str) -> bool:
    by_key = len(name) >= SHORTEST_KEY and step.key.startswith(name)
    return by_key or name in (step.role, step.kind)


def _roles(cells: Iterable[CellResult]) -> list[str]:
    return sorted({step.role for cell in cells for step in cell.steps})
