"""Feeds the trials of all arms to a supervisor, and tells the studies what came of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.database.journal import CellKey
from threedrs_platform.database.measurements import CellResult
from threedrs_platform.database.results import Results
from threedrs_platform.errors import ConfigError
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.states import StepState
from threedrs_platform.steps import Cell
from threedrs_platform.workspace import Workspace
from threedrs_workflows.engine.feed import CellFeed
from threedrs_workflows.engine.schedule import Schedule
from threedrs_workflows.experiment import experiment_id
from threedrs_workflows.grid.cells import GridCell
from threedrs_workflows.grid.names import cell_name
from threedrs_workflows.plan.binding import bind_cell
from threedrs_workflows.plan.plan import Plan
from threedrs_workflows.plan.submission import plan_cells
from threedrs_workflows.tuning.arm_study import ArmStudy, Asked
from threedrs_workflows.tuning.arms import PROBE, Tuning

MOST_FAILURES = 3
"""So many failed trials in a row end the tuning: what is wrong is not their settings."""

Bind = Callable[[GridCell, int, FileDigests], Cell]
"""From a configuration and a seed to the steps that measure it."""


@dataclass
class Active:
    """A trial that is being worked on."""

    study: ArmStudy
    asked: Asked
    cells: tuple[CellKey, ...]
    """One per seed."""
    curves: dict[int, dict[CellKey, float]] = field(default_factory=dict)
    """Training step -> value of the watched curve by cell."""
    pruned: str = ""
    """Why it was given up."""


class Tuner(CellFeed):
    """A feed of trials. Interrupted trials come first; they go on from their last checkpoint."""

    def __init__(
        self,
        workspace: Workspace,
        tuning: Tuning,
        run_id: str,
        studies: Sequence[ArmStudy],
        bind: Bind = bind_cell,
    ) -> None:
        self._workspace, self._tuning, self._run_id = workspace, tuning, run_id
        self._bind = bind
        self._studies, self._section = studies, tuning.section
        self._active: list[Active] = []
        self._owners: dict[str, list[tuple[Active, CellKey]]] = {}
        self._doomed: dict[CellKey, str] = {}
        self._failures, self._closed = 0, False
        self.stopped = ""
        """Why the tuning ended before its budget, if it did."""

    @property
    def is_over(self) -> bool:
        """Whether all trials have been told, or none will come any more."""
        if self._closed:
            return True
        return not self._active and not any(study.has_more for study in self._studies)

    def close(self) -> None:
        """No more trials; those that are not told stay open and go on the next time."""
        self._closed = True

    def curve(self, step_key: str, at: int, values: Mapping[str, float]) -> None:
        """Give up trials whose watched curve is not worth going on."""
        value = values.get(self._section.watch)
        for active, cell in self._owners.get(step_key, ()) if value is not None else ():
            assert value is not None
            here = active.curves.setdefault(at, {})
            here[cell] = value
            if len(here) == len(active.cells) and not active.pruned:
                mean = fmean(here.values())
                if active.study.report(active.asked, at, mean):
                    active.pruned = f"{self._section.watch} {mean:.4g} at step {at}"
                    self._doomed |= dict.fromkeys(active.cells, f"pruned: {active.pruned}")

    def given_up(self) -> Mapping[CellKey, str]:
        """Cells of trials that were pruned since the last call, unless another trial has them."""
        wanted = {cell for each in self._active if not each.pruned for cell in each.cells}
        doomed, self._doomed = self._doomed, {}
        return {cell: why for cell, why in doomed.items() if cell not in wanted}

    def more(self, schedule: Schedule) -> Plan | None:
        """Tell what has ended, and ask for as many trials as have room."""
        if self._closed:
            return None
        self._tell(schedule)
        cells: list[Cell] = []
        while len(self._active) < self._section.parallel and (study := self._next()) is not None:
            cells += self._begin(study, [*schedule.cells, *map(_key, cells)])
        if not cells:
            return None
        plan = plan_cells(self._workspace, cells)
        self._workspace.runs.extend(self._run_id, plan.cells, plan.links, plan.entries())
        self._own(plan)
        return plan

    def _next(self) -> ArmStudy | None:
        """The arm that is furthest behind, so that all have the same at any time."""
        waiting = [study for study in self._studies if study.has_more]
        if not waiting or self._closed:
            return None
        return min(waiting, key=lambda study: study.asked)

    def _begin(self, study: ArmStudy, known: Sequence[CellKey]) -> list[Cell]:
        """Ask for a trial; its cells, without those that are there already."""
        asked = study.ask()
        experiment = self._tuning.experiment(study.arm, asked.values)
        if isinstance(experiment, list):
            study.fail(asked, "; ".join(fault.message for fault in experiment))
            return []
        arm = f"{study.arm.name} " if study.arm.values else ""
        cell = GridCell(
            experiment_id(experiment),
            cell_name({**study.arm.values, **asked.values}),
            f"{arm}trial {asked.number}",
            {},
            experiment,
            False,
            self._tuning.resources,
        )
        bound = [self._bound(cell, seed) for seed in self._section.seeds]
        study.remember_cell(asked, cell.cell_id)
        self._active.append(Active(study, asked, tuple(map(_key, bound))))
        return [each for each in bound if _key(each) not in known]

    def _bound(self, grid_cell: GridCell, seed: int) -> Cell:
        """A cell without the steps that no metric is of."""
        cell = self._bind(grid_cell, seed, self._workspace.files)
        sources = {name.partition("/")[0] for name in self._section.metrics}
        unused = set() if PROBE in sources else {PROBE}
        if sources == {PROBE}:
            unused = {"score", "predict"}
        steps = {role: step for role, step in cell.steps.items() if role not in unused}
        return replace(cell, steps=steps)

    def _own(self, plan: Plan) -> None:
        """Remember whose training draws which curve."""
        for active in self._active:
            for cell in active.cells:
                key = plan.links.get(cell, {}).get("finetune")
                if key is not None:
                    self._owners.setdefault(key, []).append((active, cell))

    def _tell(self, schedule: Schedule) -> None:
        """Tell the studies about trials whose cells have all ended."""
        for active in list(self._active):
            states = {schedule.cells.get(cell, StepState.PENDING) for cell in active.cells}
            if StepState.FAILED in states:
                active.study.fail(active.asked, self._cause(active))
                self._active.remove(active)
                self._failures += 1
                if self._failures == MOST_FAILURES:
                    self.stopped = f"the last {MOST_FAILURES} trials failed: {self._cause(active)}"
                    self.close()
            elif states == {StepState.SUCCEEDED}:
                self._complete(active)
                self._active.remove(active)
                self._failures = 0
            elif active.pruned or StepState.CANCELLED in states:
                why = active.pruned or "cancelled, or given up in another trial"
                active.study.prune(active.asked, why)
                self._active.remove(active)
                self._failures = 0

    def _complete(self, active: Active) -> None:
        measured = self._measured(active.cells)
        missing = [name for name in self._section.metrics if name not in measured]
        if missing:
            hint = did_you_mean(missing[0], sorted(measured))
            message = f"the trials do not measure {missing[0]!r}{hint}"
            raise ConfigError([self._tuning.document.fault(message, ("tune", "metric"))])
        values = [measured[name] for name in self._section.metrics]
        others = {k: v for k, v in measured.items() if k not in self._section.metrics}
        active.study.complete(active.asked, values, others)

    def _measured(self, cells: Sequence[CellKey]) -> dict[str, float]:
        """Means over the seeds of what all of them measure."""
        results = self._results(cells)
        found = [
            {name: each.metric.value for name, each in cell.measurements.items()}
            for cell in results
        ]
        shared = set.intersection(*(set(numbers) for numbers in found))
        return {name: fmean(numbers[name] for numbers in found) for name in sorted(shared)}

    def _cause(self, active: Active) -> str:
        """What failed first."""
        reasons = [cell.missing_reason for cell in self._results(active.cells)]
        return next((reason for reason in reasons if reason), "failed")

    def _results(self, cells: Sequence[CellKey]) -> list[CellResult]:
        """What the run has of these cells."""
        ids = {cell.cell_id for cell in cells}
        found = Results(self._workspace.database).run_results(self._run_id, cell_ids=ids)
        return [each for each in found.cells if CellKey(each.cell_id, each.seed) in cells]


def _key(cell: Cell) -> CellKey:
    return CellKey(cell.cell_id, cell.seed)
