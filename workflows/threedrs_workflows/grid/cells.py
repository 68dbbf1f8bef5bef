"""Grid files: one YAML text to a list of cells, or to every fault that is in it.

The rules apply in this order, whatever the order of keys in the file: matrix x zip, ablate,
exclude, include, override, irrelevant; then equal cells become one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from threedrs_platform.config import CONDUCT
from threedrs_platform.config.paths import carries, split_path
from threedrs_platform.config.strict_yaml import Document, load_document
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.config.tree import get_in
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.garbage import uncollected
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.experiment_identity import canonical_experiment
from threedrs_workflows.grid.axes import Assignment, Axes, Dimension, read_axes
from threedrs_workflows.grid.expand import Draft, Expansion
from threedrs_workflows.grid.file import (
    Price,
    ReadGrid,
    ReportChoice,
    StepResources,
    read_grid,
)
from threedrs_workflows.grid.names import axis_values, cell_name
from threedrs_workflows.grid.start import Workbench, base_tree
from threedrs_workflows.grid.tune_arms import Tuning, make_tuning, section_faults
from threedrs_workflows.grid.tune_section import HIGHEST_SEED
from threedrs_workflows.grid.unread import trial_choices, unread_notes
from threedrs_workflows.grid.where import parse_where, values_told
from threedrs_workflows.written import Written

OTHER_METRICS = (
    "probe",
    "training",
    "prediction",
    "validation",
    "teacher",
    "language",
    "samples",
    "scenes",
    "world",
)
"""What metrics begin with that belong to no benchmark."""
BASE = "base"
"""Name of the cell that changes nothing, and how `report.compare_to` calls the baseline."""


@dataclass(frozen=True)
class GridCell:
    """One configuration of a grid."""

    cell_id: str
    name: str
    """The axes that vary, for people; `base` when nothing does."""
    label: str
    """A name given in the grid, or nothing."""
    axes: Mapping[str, Any]
    """Settings that vary within the grid and have an effect in this cell, with its values."""
    experiment: Experiment
    is_baseline: bool
    resources: Mapping[str, StepResources] = field(default_factory=dict)
    """Resources by kind of step, where the grid names any."""

    @property
    def title(self) -> str:
        """What to call it in a table."""
        return self.label or self.name


@dataclass(frozen=True)
class GridCells:
    """A grid file, expanded."""

    name: str
    cells: tuple[GridCell, ...]
    seeds: tuple[int, ...]
    report: ReportChoice
    source_text: str
    digest: str
    """sha256 over name, cells, seeds and report: equal for files that mean the same."""
    base: Experiment
    """The experiment that all cells start from; a cell itself only if the grid makes it one."""
    settings: tuple[str, ...]
    """Dotted names of all settings of the base."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Declared environment variables with the values that were used."""
    gpu_hours: float | None = None
    """What a run may spend, if the file says it."""
    price: Price | None = None
    tuning: Tuning | None = None
    """What `workflows tune` would do, if the file has a section for it."""
    written: Written = field(default_factory=Written, compare=False, repr=False)
    """What was written of the cells' sections, which they share."""
    unread: Callable[[], Sequence[Fault]] = field(default=tuple, compare=False, repr=False)
    """Looks for settings that file and flags say and that nothing reads: no mistakes, but no
    effects either. Cells that `where` leaves out count, too."""

    def compared_to(self) -> GridCell | None:
        """The cell that others are compared to, if it is among them."""
        return _compared_to(self.cells, self.report.compare_to)


def load_cells(
    path: Path | str, *, smoke: bool = False, sets: Sequence[str] = (), where: str | None = None
) -> GridCells:
    """Read and expand a grid file.

    Args:
        path: the file.
        smoke: use the preset's smallest sizes and the first seed only.
        sets: `KEY=VALUE` changes the base; `KEY=V1,V2` replaces an axis where it stands, or
            multiplies the whole grid.
        where: keep only the cells for which this expression holds.

    Raises:
        ConfigError: lists every fault with its place.
    """
    with uncollected():
        return expand(load_document(Path(path)), smoke=smoke, sets=sets, where=where)


def expand(
    document: Document, *, smoke: bool = False, sets: Sequence[str] = (), where: str | None = None
) -> GridCells:
    """As `load_cells`, for a document that has been read."""
    grid = read_grid(document, tuple(sets))
    faults = list(grid.faults)
    if faults and not grid.file.base:
        raise ConfigError(faults)
    try:
        base, wrong = base_tree(grid, smoke=smoke)
    except ConfigError as error:
        raise ConfigError([*faults, *error.faults]) from None
    bench = Workbench(base)
    axes = read_axes(grid, bench.path_fault)
    space, wrong_tuning = section_faults(grid, bench)
    faults += [*wrong, *bench.faults({}), *axes.faults, *wrong_tuning]
    faults += _too_many(grid, axes.count(), 20)
    if axes.count() > 20 * grid.file.limits.max_cells:
        raise ConfigError(faults)
    expansion = Expansion(grid, bench, certain=not faults)
    drafts = expansion.run(axes)
    faults += expansion.faults
    faults += [fault for draft in drafts for fault in bench.faults_of_broken(draft.choices)]
    seeds = _seeds(grid, faults)
    _raise_if(faults)
    cells = _Assembly(grid, bench, axes, smoke).cells(drafts, faults)
    faults += _too_many(grid, len(cells), 1) + _comparison_faults(grid, cells)
    faults += _metric_faults(grid, cells)
    _raise_if(faults)
    kept = _kept(cells, where, bench)
    name = f"{grid.file.name}-smoke" if smoke else grid.file.name
    tuning, faults = make_tuning(
        grid, bench, name, [(cell.experiment, cell.label) for cell in kept], space
    )
    _raise_if(faults)
    seeds = seeds[:1] if smoke else seeds
    baseline = bench.build({}).experiment
    assert baseline is not None
    return GridCells(
        name,
        kept,
        seeds,
        grid.file.report,
        document.text,
        _digest(name, kept, seeds, grid.file.report),
        baseline,
        tuple(bench.known_paths()),
        dict(grid.env),
        grid.file.budget.gpu_hours if grid.file.budget else None,
        grid.file.price,
        tuning,
        bench.written,
        cache(
            lambda: unread_notes(
                grid, bench, [*(draft.choices for draft in drafts), *trial_choices(tuning)]
            )
        ),
    )


def _raise_if(faults: Iterable[Fault]) -> None:
    unique = list(dict.fromkeys(faults))
    if unique:
        raise ConfigError(sorted(unique, key=lambda f: (f.file, f.line or 0, f.column or 0)))


def _too_many(grid: ReadGrid, count: int, slack: int) -> list[Fault]:
    limit = grid.file.limits.max_cells
    if count <= slack * limit:
        return []
    at = ("limits", "max_cells") if "limits" in grid.document.data else ("matrix",)
    before = " before exclusions" if slack > 1 else ""
    message = f"{count} cells{before}, but limits.max_cells is {limit}; raise it if you mean it"
    return [grid.document.fault(message, at)]


def _seeds(grid: ReadGrid, faults: list[Fault]) -> tuple[int, ...]:
    seeds = grid.file.seeds
    for setting in grid.settings:
        if setting.path == "seeds":
            fits = range(HIGHEST_SEED + 1)
            wrong = [v for v in setting.values if type(v) is not int or v not in fits]
            if wrong:
                message = f"expected whole numbers from 0 to {HIGHEST_SEED}, got {wrong[0]!r}"
                faults.append(Fault(message, "seeds", setting.document.file))
            seeds = tuple(v for v in setting.values if v not in wrong)
    repeated = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if repeated:
        faults.append(grid.document.fault(f"seed {repeated[0]} is listed twice", ("seeds",)))
    return seeds


@dataclass(frozen=True)
class _Assembly:
    """From drafts to cells: identities, equal cells made one, names."""

    grid: ReadGrid
    bench: Workbench
    axes: Axes
    smoke: bool

    def cells(self, drafts: Sequence[Draft], faults: list[Fault]) -> tuple[GridCell, ...]:
        base_id = self.bench.cell_id({})
        merged: dict[str, Draft] = {}
        for draft in drafts:
            cell_id = self.bench.cell_id(draft.choices)
            first = merged.setdefault(cell_id, draft)
            merged[cell_id] = self._labelled(first, draft, faults)
        if not merged:
            faults.append(self.grid.document.fault("no cell is left: everything is excluded"))
        faults += self._labels_used_twice(merged.values())
        faults += self._axes_without_effect(drafts)
        order = sorted(merged, key=lambda cell_id: cell_id != base_id)
        varying = self._varying(list(merged.values()))
        dimensions = [*self.axes.crossed, *self.axes.added]
        crossed = {path for dimension in dimensions for path in dimension.paths}
        cells = tuple(
            self._cell(cell_id, merged[cell_id], varying, crossed, base_id) for cell_id in order
        )
        faults += self._labels_of_others(cells, merged)
        faults += filter(None, map(self._gpus_fault, cells))
        faults += filter(None, map(self._nodes_fault, cells))
        return cells

    def _labelled(self, first: Draft, later: Draft, faults: list[Fault]) -> Draft:
        if first is later or not later.label or first.label == later.label:
            return first
        if first.label:
            message = f"the same cell is already called {first.label!r}"
            faults.append(self.grid.document.fault(message, (*later.at, "label")))
            return first
        return Draft(first.choices, later.label, first.steps, later.at)

    def _labels_used_twice(self, drafts: Iterable[Draft]) -> list[Fault]:
        seen: set[str] = set()
        faults = []
        for draft in drafts:
            if draft.label and draft.label in seen:
                message = f"label {draft.label!r} is used for two cells"
                faults.append(self.grid.document.fault(message, (*draft.at, "label")))
            seen.add(draft.label)
        return faults

    def _labels_of_others(
        self, cells: Iterable[GridCell], drafts: Mapping[str, Draft]
    ) -> list[Fault]:
        """A label that is another cell's name: whoever names one of them would mean both."""
        owners = {word: cell.cell_id for cell in cells for word in (cell.name, cell.cell_id)}
        return [
            self.grid.document.fault(
                f"label {cell.label!r} is the name of another cell", (*draft.at, "label")
            )
            for cell in cells
            if owners.get(cell.label, cell.cell_id) != cell.cell_id
            for draft in (drafts[cell.cell_id],)
        ]

    def _axes_without_effect(self, drafts: Sequence[Draft]) -> list[Fault]:
        several = [d for d in self.axes.crossed if len(d.points) > 1]
        dimensions = [*several, *self.axes.factors.values(), *self.axes.added]
        return [self._useless(d) for d in dimensions if not self._has_effect(d, drafts)]

    def _has_effect(self, dimension: Dimension, drafts: Sequence[Draft]) -> bool:
        """Whether some cell, excluded or not, becomes another one without this dimension."""
        for choices in chain(self.axes.assignments(), (draft.choices for draft in drafts)):
            rest = {path: c for path, c in choices.items() if path not in dimension.paths}
            if len(rest) < len(choices) and self._differ(choices, rest):
                return True
        return False

    def _differ(self, one: Assignment, other: Assignment) -> bool:
        if any(self.bench.build(choices).experiment is None for choices in (one, other)):
            return True
        return self.bench.cell_id(one) != self.bench.cell_id(other)

    def _useless(self, dimension: Dimension) -> Fault:
        choice = next(iter(dimension.points[0].values()))
        reason = "every value gives the same cells as the base"
        if carries(Experiment, choice.path, self.bench.build({}).values, CONDUCT):
            reason = "it decides how results are computed, not which"
        place = choice.document.place(choice.at[:-1], of_key=True)
        message = f"this axis has no effect: {reason}"
        return Fault(message, choice.path, place.file, place.line, place.column)

    def _varying(self, drafts: Sequence[Draft]) -> dict[str, dict[str, Any]]:
        """Per cell id, the settings that any draft changes and that have an effect in the cell."""
        paths = sorted(
            {path for draft in drafts for path in draft.choices},
            key=lambda path: (path.count("."), path),
        )
        canonical = {self.bench.cell_id(d.choices): self._canonical(d) for d in drafts}
        return axis_values(canonical, paths, self.bench.build({}).values)

    def _canonical(self, draft: Draft) -> dict[str, Any]:
        experiment = self.bench.build(draft.choices).experiment
        assert experiment is not None
        return canonical_experiment(experiment, self.bench.written)

    def _cell(
        self,
        cell_id: str,
        draft: Draft,
        varying: Mapping[str, Mapping[str, Any]],
        crossed: set[str],
        base_id: str,
    ) -> GridCell:
        experiment = self.bench.build(draft.choices).experiment
        assert experiment is not None
        axes = dict(varying[cell_id])
        base = self.bench.build({}).values
        shown = {
            path: value
            for path, value in axes.items()
            if path in crossed or get_in(base, split_path(path)) != value
        }
        return GridCell(
            cell_id,
            cell_name(shown) or BASE,
            draft.label,
            axes,
            experiment,
            cell_id == base_id,
            self._resources(draft),
        )

    def _gpus_fault(self, cell: GridCell) -> Fault | None:
        """Training with GPUs that its workers cannot share out."""
        finetune, workers = cell.resources.get("finetune"), cell.experiment.training.workers
        gpus = finetune.gpus if finetune else 0
        if not gpus or gpus == workers or (workers == 1 and gpus < 1):
            return None
        cure = f"training.workers: {gpus:g}, or " if gpus == int(gpus) else ""
        message = (
            f"{gpus:g} GPUs for training.workers: {workers}, each of which trains on one; set "
            f"{cure}gpus: {workers}"
        )
        return self.grid.document.fault(message, ("steps", "finetune", "gpus"))

    def _nodes_fault(self, cell: GridCell) -> Fault | None:
        """Nodes over which nothing can be spread, or not evenly."""
        workers = cell.experiment.training.workers
        for kind, named in cell.resources.items():
            if kind != "finetune" and named.nodes > 1:
                message = "one step of this kind runs on one node; only finetune can have several"
                return self.grid.document.fault(message, ("steps", kind, "nodes"))
            if kind == "finetune" and workers % named.nodes:
                message = f"training.workers: {workers} cannot be spread evenly over {named.nodes} "
                message += f"nodes; use a multiple of {named.nodes}"
                return self.grid.document.fault(message, ("steps", kind, "nodes"))
        return None

    def _resources(self, draft: Draft) -> dict[str, StepResources]:
        steps: dict[str, StepResources] = dict(self.grid.file.steps.items())
        for kind, values in draft.steps.items():
            named = steps.get(kind, StepResources())
            steps[kind] = StepResources.model_validate({**named.model_dump(), **values})
        return dict(sorted(steps.items()))


def _compared_to(cells: Iterable[GridCell], name: str) -> GridCell | None:
    for cell in cells:
        if (name == BASE and cell.is_baseline) or name in (cell.label, cell.name):
            return cell
    return None


def _comparison_faults(grid: ReadGrid, cells: Sequence[GridCell]) -> list[Fault]:
    wanted = grid.file.report.compare_to
    if not cells or _compared_to(cells, wanted) or not grid.file.report.model_fields_set:
        return []
    if "compare_to" not in grid.file.report.model_fields_set:
        return []
    names = [cell.title for cell in cells]
    hint = "; add it: `include: [{label: base}]`" if wanted == BASE else did_you_mean(wanted, names)
    return [grid.document.fault(f"no cell is called {wanted!r}{hint}", ("report", "compare_to"))]


def _metric_faults(grid: ReadGrid, cells: Sequence[GridCell]) -> list[Fault]:
    """Metrics of the report that no cell can have, as far as their first word tells."""
    benchmarks = {name for cell in cells for name in cell.experiment.benchmarks.names}
    known = {*benchmarks, *OTHER_METRICS}
    return [
        grid.document.fault(
            f"no cell measures {name!r}{did_you_mean(first, known)}", ("report", "metrics", index)
        )
        for index, name in enumerate(grid.file.report.metrics)
        if "/" in name and (first := name.rpartition(":")[2].partition("/")[0]) not in known
    ]


_NAMES = ("name", "label")
"""What a condition may read of a cell beside its settings, as in conditions on results."""


def _kept(cells: tuple[GridCell, ...], where: str | None, bench: Workbench) -> tuple[GridCell, ...]:
    if where is None:
        return cells
    flag = "--where"
    try:
        condition = parse_where(where, {*bench.known_paths(), *_NAMES})
        kept = tuple(cell for cell in cells if condition.holds(_values_of(cell)))
    except ConfigError as error:
        raise ConfigError(
            [Fault(f.message, where, flag, None, f.column) for f in error.faults]
        ) from None
    if not kept:
        values = values_told(condition, [_values_of(cell) for cell in cells])
        message = f"holds for none of the {len(cells)} cells{values}"
        raise ConfigError([Fault(message, where, flag)])
    return kept


def _values_of(cell: GridCell) -> Callable[[str], Any]:
    values = {**cell.experiment.canonical(), **{name: getattr(cell, name) for name in _NAMES}}
    return lambda path: get_in(values, split_path(path))


def _digest(
    name: str, cells: Iterable[GridCell], seeds: Sequence[int], report: ReportChoice
) -> str:
    meaning = {
        "name": name,
        "cells": sorted([cell.cell_id, cell.label] for cell in cells),
        "seeds": list(seeds),
        "report": report.canonical(),
    }
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()
