"""From the cells of a grid to the cells of the engine: one per seed, with their steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.fake_gpus import fake_gpus
from threedrs_platform.garbage import uncollected
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.steps import JSON, Cell, Resources, StepSpec
from threedrs_workflows.experiment_identity import canonical_experiment
from threedrs_workflows.grid.cells import GridCell, GridCells
from threedrs_workflows.grid.file import StepResources
from threedrs_workflows.grid.packages import refuse_missing_readers
from threedrs_workflows.plan.cell_steps import StepMaker
from threedrs_workflows.plan.outside_records import absent_records
from threedrs_workflows.written import Written


def bind_cells(
    grid: GridCells, digests: FileDigests, *, need_data: bool = True
) -> tuple[Cell, ...]:
    """Cells with their steps: all cells of one seed, then all of the next.

    Seeds come one after the other so that an interrupted run has whole comparisons.

    Args:
        grid: the cells.
        digests: of what lies outside; afterwards `digests.absent` names what is not here.
        need_data: refuse that. Cells made without data can be planned, not run.

    Raises:
        ConfigError: checkpoints or data that experiments name are not here; all of them at once.
            Or an optional package is not, with which scenes are read.
    """
    refuse_missing_readers(cell.experiment for cell in grid.cells)
    digests.absent = absent = dict[str, str]()
    binder = _Binder(digests, grid.written)
    with uncollected():
        cells = tuple([binder.cell(cell, seed) for seed in grid.seeds for cell in grid.cells])
    absent |= absent_records(cell.experiment for cell in grid.cells)
    if absent and need_data:
        sources = data_sources(grid)
        faults = []
        for path, needed in absent.items():
            setting, _, what = needed.partition(" (")
            told = f"{path}: {_lack(path, what.removesuffix(')'))}{told_source(sources, setting)}"
            faults.append(Fault(told, setting))
        raise ConfigError(faults)
    return cells


def _lack(path: str, what: str) -> str:
    """Of a list that is there, what it lacks."""
    return f"lacks {what or 'what is read'}" if Path(path).exists() else "no such file or folder"


def data_sources(grid: GridCells) -> dict[str, str]:
    """Where what settings name can be fetched, as far as their scenes tell."""
    return {
        setting: source
        for cell in grid.cells
        for setting, source in cell.experiment.scenes.sources().items()
    }


def told_source(sources: Mapping[str, str], setting: str) -> str:
    """Behind a path that is not there."""
    return f"; fetch {sources[setting]}" if setting in sources else ""


def bind_cell(cell: GridCell, seed: int, digests: FileDigests) -> Cell:
    """A cell under one seed, with its steps."""
    return _Binder(digests, Written()).cell(cell, seed)


class _Binder:
    """Gives cells their steps; what cells share stays one object."""

    def __init__(self, digests: FileDigests, written: Written) -> None:
        self._steps, self._written = StepMaker(digests, written), written
        self._chosen: dict[tuple[tuple[str, StepResources], ...], WithResources] = {}

    def cell(self, cell: GridCell, seed: int) -> Cell:
        """A cell under one seed, with its steps."""
        resources = tuple(cell.resources.items())
        if resources not in self._chosen:
            self._chosen[resources] = WithResources(cell.resources)
        steps = self._chosen[resources].steps(self._steps.steps(cell.experiment, seed))
        params = canonical_experiment(cell.experiment, self._written)
        return Cell(cell.cell_id, cell.name, seed, params, steps, cell.label)


class WithResources:
    """Gives steps, and all that they read from, the resources of their kind, each step once.

    A step with a GPU gets another key: the same sums come out a little different there. A rehearsal
    on pretended GPUs has keys of its own.
    """

    def __init__(self, resources: Mapping[str, StepResources]) -> None:
        self._resources = resources
        self._done: dict[int, tuple[StepSpec, StepSpec]] = {}
        """What was made of a step by the step's id, and the step, whose id it is while it lives."""

    def steps(self, steps: Mapping[str, StepSpec]) -> dict[str, StepSpec]:
        """All of them by role."""
        if not self._resources:
            return dict(steps)
        return {role: self._change(step) for role, step in steps.items()}

    def _change(self, step: StepSpec) -> StepSpec:
        if id(step) in self._done:
            return self._done[id(step)][0]
        named = self._resources.get(step.kind)
        chosen = named.over(step.resources) if named else step.resources
        changed = replace(
            step,
            inputs={name: self._change(read) for name, read in step.inputs.items()},
            resources=chosen,
            numerics=_numerics(chosen, step),
            settings={**step.settings, **_told(chosen)},
        )
        self._done[id(step)] = (changed, step)
        return changed


def _numerics(chosen: Resources, step: StepSpec) -> str:
    if not chosen.gpus:
        return step.numerics
    return "cuda, pretended" if fake_gpus() else "cuda"


def _told(chosen: Resources) -> dict[str, JSON]:
    """What a step is told of its resources, of which it makes parts for processes of its own."""
    return {"gpus": chosen.gpus, "cpus": chosen.cpus, "memory_gib": chosen.memory_gib}
