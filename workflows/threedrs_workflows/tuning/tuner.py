"""Feeds the trials of all arms to a supervisor, and tells the studies what came of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.database.claims import CellKey
from threedrs_platform.database.measurements import CellResult
from threedrs_platform.database.results import Results
from threedrs_platform.errors import ConfigError
from threedrs_platform.states import FailureClass, RunState, StepState
from threedrs_platform.steps import Cell
from threedrs_workflows.engine.feed import CellFeed
from threedrs_workflows.engine.schedule import Schedule
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.plan.plan import Plan
from threedrs_workflows.plan.submission import extend, plan_cells
from threedrs_workflows.tuning.arm_study import ArmStudy, OpenTrial
from threedrs_workflows.tuning.partners import runs_of
from threedrs_workflows.tuning.trial_cells import TrialCells, measuring_keys

LOOK_S = 1.0
"""Between looks at what other processes left to do."""
MOST_FAILURES = 3
"""So many failed trials in a row end the tuning: what is wrong is not their settings."""


@dataclass
class RunningTrial:
    """A trial whose cells are being worked on."""

    study: ArmStudy
    trial: OpenTrial
    cells: tuple[CellKey, ...]
    """One per seed."""
    curves: dict[int, dict[CellKey, float]] = field(default_factory=dict)
    """Training step -> value of the watched curve by cell."""
    pruned: str = ""
    """Why it was given up."""


class Tuner(CellFeed):
    """A feed of trials. Interrupted trials come first; they go on from their last checkpoint."""

    def __init__(self, trial_cells: TrialCells, run_id: str, studies: Sequence[ArmStudy]) -> None:
        self._trial_cells, self._run_id, self._studies = trial_cells, run_id, studies
        self._workspace, self._tuning = trial_cells.workspace, trial_cells.tuning
        self._section = self._tuning.section
        self._running: list[RunningTrial] = []
        self._trainings: dict[str, list[tuple[RunningTrial, CellKey]]] = {}
        """Key of a training -> the trials and cells that its curves are of."""
        self._hopeless: dict[CellKey, str] = {}
        """Cells of pruned trials that the supervisor has not been told of."""
        self._failures, self._closed = 0, False
        self._told: Counter[str] = Counter()
        """How the trials of this process have ended: answered, failed or cancelled."""
        self._next_look = 0.0
        self.stopped = ""
        """Why the tuning ended before its budget, if it did."""

    @property
    def is_over(self) -> bool:
        """Whether all trials have been told, or none will come any more."""
        if self._closed:
            return True
        return not self._running and all(study.is_over for study in self._studies)

    @property
    def partners(self) -> Collection[str]:
        """Other runs that work, or have worked, on the same studies."""
        runs = {run.id for run in runs_of(self._workspace, self._tuning)}
        return runs - {self._run_id}

    def outcome(self, state: RunState) -> RunState:
        """Pruned and diverged trials are answers: a search of nothing else has succeeded."""
        if self._closed and not self.stopped:
            return state
        if self._told["failed"]:
            return RunState.PARTIAL if self._told["answered"] else RunState.FAILED
        if self._told["cancelled"] and not self._told["answered"]:
            return RunState.CANCELLED
        return RunState.SUCCEEDED

    def close(self) -> None:
        """No more trials; those that are not told stay open and go on the next time."""
        self._closed = True

    def curve(self, step_key: str, at: int, values: Mapping[str, float]) -> None:
        """Give up trials whose watched curve is not worth going on."""
        value = values.get(self._section.watch)
        if value is None:
            return
        for running, cell in self._trainings.get(step_key, ()):
            here = running.curves.setdefault(at, {})
            here[cell] = value
            if len(here) == len(running.cells) and not running.pruned:
                mean = fmean(here.values())
                if running.study.report(running.trial, at, mean):
                    running.pruned = f"{self._section.watch} {mean:.4g} at step {at}"
                    self._hopeless |= dict.fromkeys(running.cells, f"pruned: {running.pruned}")

    def given_up(self) -> Mapping[CellKey, str]:
        """Cells of trials that were pruned since the last call, unless another trial has them."""
        wanted = {cell for each in self._running if not each.pruned for cell in each.cells}
        hopeless, self._hopeless = self._hopeless, {}
        return {cell: why for cell, why in hopeless.items() if cell not in wanted}

    def more(self, schedule: Schedule) -> Plan | None:
        """Tell what has ended, and ask for as many trials as have room."""
        if self._closed:
            return None
        self._tell(schedule)
        cells: list[Cell] = []
        while len(self._running) < self._section.parallel and (trial := self._ask()) is not None:
            cells += self._begin(*trial, [*schedule.cells, *map(_key, cells)])
        if not cells:
            return None
        plan = plan_cells(self._workspace, cells)
        extend(self._workspace, self._run_id, plan)
        self._remember_trainings(plan)
        return plan

    def _ask(self) -> tuple[ArmStudy, OpenTrial] | None:
        """A trial of the arm that is furthest behind, so that all have the same at any time."""
        if self._closed or time.monotonic() < self._next_look:
            return None
        for study in sorted(self._studies, key=lambda study: study.asked):
            if study.has_more and (trial := study.ask()) is not None:
                return study, trial
        self._next_look = time.monotonic() + LOOK_S
        return None

    def _begin(self, study: ArmStudy, trial: OpenTrial, known: Sequence[CellKey]) -> list[Cell]:
        """A trial's cells, without those that are there already."""
        experiment = self._tuning.experiment(study.arm, trial.values)
        if isinstance(experiment, list):
            study.fail(trial, "; ".join(fault.message for fault in experiment))
            return []
        cells = self._begin_trial(study, trial, experiment)
        return [each for each in cells if _key(each) not in known]

    def _begin_trial(self, study: ArmStudy, trial: OpenTrial, experiment: Experiment) -> list[Cell]:
        """Make a trial's cells, and remember by which steps they measure it."""
        cells = self._trial_cells.make(study.arm, trial.number, trial.values, experiment)
        keys = measuring_keys(self._trial_cells.graph(cells))
        study.remember_cells(trial, cells[0].cell_id, keys)
        self._running.append(RunningTrial(study, trial, tuple(map(_key, cells))))
        return cells

    def _remember_trainings(self, plan: Plan) -> None:
        """Remember which training draws the curve of which trial; trials may share one."""
        for running in self._running:
            for cell in running.cells:
                key = plan.links.get(cell, {}).get("finetune")
                if key is not None:
                    self._trainings.setdefault(key, []).append((running, cell))

    def _tell(self, schedule: Schedule) -> None:
        """Tell the studies about trials whose cells have all ended."""
        for running in list(self._running):
            states = {schedule.cells.get(cell, StepState.PENDING) for cell in running.cells}
            if StepState.FAILED in states:
                self._fail(running)
            elif states == {StepState.SUCCEEDED}:
                self._complete(running)
                self._answered(running)
            elif running.pruned:
                running.study.prune(running.trial, running.pruned)
                self._answered(running)
            elif StepState.CANCELLED in states:
                running.study.prune(running.trial, "cancelled, or given up in another trial")
                self._told["cancelled"] += 1
                self._running.remove(running)

    def _answered(self, running: RunningTrial) -> None:
        self._running.remove(running)
        self._told["answered"] += 1
        self._failures = 0

    def _fail(self, running: RunningTrial) -> None:
        """A training that diverged says what its settings are worth; all else says nothing."""
        cause = self._cause(running)
        if self._has_diverged(running):
            running.study.prune(running.trial, cause)
            self._answered(running)
            return
        running.study.fail(running.trial, cause)
        self._running.remove(running)
        self._told["failed"] += 1
        self._failures += 1
        if self._failures == MOST_FAILURES:
            self.stopped = f"the last {MOST_FAILURES} trials failed: {cause}"
            self.close()

    def _has_diverged(self, running: RunningTrial) -> bool:
        """Whether nothing else went wrong."""
        failures = self._workspace.runs.failures(self._run_id)
        causes = set[FailureClass]().union(*(failures.get(cell, ()) for cell in running.cells))
        return causes == {FailureClass.DIVERGED}

    def _complete(self, running: RunningTrial) -> None:
        measured = self._measured(running.cells)
        missing = [name for name in self._section.metrics if name not in measured]
        if missing:
            hint = did_you_mean(missing[0], sorted(measured))
            message = f"the trials do not measure {missing[0]!r}{hint}"
            raise ConfigError([self._tuning.document.fault(message, ("tune", "metric"))])
        values = [measured[name] for name in self._section.metrics]
        others = {k: v for k, v in measured.items() if k not in self._section.metrics}
        running.study.complete(running.trial, values, others)

    def _measured(self, cells: Sequence[CellKey]) -> dict[str, float]:
        """Means over the seeds of what all of them measure."""
        results = self._results(cells)
        found = [
            {name: each.metric.value for name, each in cell.measurements.items()}
            for cell in results
        ]
        shared = set.intersection(*(set(numbers) for numbers in found))
        return {name: fmean(numbers[name] for numbers in found) for name in sorted(shared)}

    def _cause(self, running: RunningTrial) -> str:
        """What failed first."""
        reasons = [cell.missing_reason for cell in self._results(running.cells)]
        return next((reason for reason in reasons if reason), "failed")

    def _results(self, cells: Sequence[CellKey]) -> list[CellResult]:
        """What the run has of these cells."""
        ids = {cell.cell_id for cell in cells}
        found = Results(self._workspace.database).run_results(self._run_id, cell_ids=ids)
        return [each for each in found.cells if CellKey(each.cell_id, each.seed) in cells]


def _key(cell: Cell) -> CellKey:
    return CellKey(cell.cell_id, cell.seed)
