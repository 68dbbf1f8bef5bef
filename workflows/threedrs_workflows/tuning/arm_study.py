"""One arm's study: asks for trials, tells what came of them, and goes on where it was stopped.

Several processes may work on it, each in a run of its own. Trials are asked for and ended by one
process at a time, so no trial beyond the budget begins, and none is worked on by two. A trial is
left open if the process of its run is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from threedrs_components.objectives.registry import VALIDATION_CURVES
from threedrs_platform.database.studies import (
    CELL,
    KEYS,
    MEASURED,
    REASON,
    RUN,
    SECONDS,
    exclusively,
    keep_facts,
    open_storage,
    patiently,
    read_study,
    study_name,
)
from threedrs_platform.database.trials import StudyFacts, StudyView, choice_text
from threedrs_platform.errors import ConflictError
from threedrs_workflows.grid.tune_arms import Arm, Tuning, looking_interval
from threedrs_workflows.grid.tune_section import TuneSection
from threedrs_workflows.grid.tune_space import Choices
from threedrs_workflows.tuning.partners import is_taken, runs_of, taken_runs
from threedrs_workflows.tuning.renewal import newest_study, out_of_date, replace_study
from threedrs_workflows.tuning.samplers import grid_points, make_pruner, make_sampler
from threedrs_workflows.tuning.trial_cells import TrialCells


@dataclass
class OpenTrial:
    """A trial that has been asked for and not been told yet."""

    number: int
    values: Mapping[str, Any]
    """Setting -> value, as the configuration takes it."""
    trial: Trial
    reported: set[int]
    """Training steps whose value of the watched curve Optuna has."""
    began: float = field(default_factory=time.monotonic)


Chosen = Callable[[FrozenTrial], bool]
"""Which failed trials are tried again."""


class ArmStudy:
    """The study of one arm, as one process sees it. Open it with the tuning run to oneself."""

    def __init__(
        self, trial_cells: TrialCells, arm: Arm, run_id: str, again: Chosen | None = None
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        tuning = trial_cells.tuning
        self.arm, self._section, self._run = arm, tuning.section, tuning.run
        self._workspace, self._run_id = trial_cells.workspace, run_id
        self._study = _open_study(trial_cells, arm, again)
        self._study.pruner = make_pruner(
            self._section, looking_interval(arm.experiment), arm.experiment.training.steps
        )
        keep_facts(self._study, _facts(tuning, arm, run_id))
        self._queue_known_points()
        self._own: set[int] = set()
        """Numbers of the trials that this process works on."""

    def view(self, with_importance: bool = True) -> StudyView:
        """What the study has found so far."""
        return patiently(self._workspace, lambda: read_study(self._study, with_importance))

    @property
    def budget(self) -> int:
        """Trials in all; a grid ends with its last point."""
        if self._section.sampler != "grid":
            return self._section.trials
        return min(self._section.trials, len(grid_points(self.arm.dimensions, 0)))

    @property
    def asked(self) -> int:
        """Trials that have begun, in any process, and are not out of date."""
        return sum(frozen.state is not TrialState.WAITING for frozen in self._trials())

    @property
    def left_open(self) -> int:
        """Trials that a process began that is gone."""
        return len(self._abandoned())

    @property
    def is_over(self) -> bool:
        """Whether the budget is spent and every trial has ended, those of other processes too."""
        trials = self._trials()
        running = any(frozen.state is TrialState.RUNNING for frozen in trials)
        return not running and self.asked >= self.budget

    @property
    def has_more(self) -> bool:
        """Whether a trial is left to be begun or to be gone on with."""
        return self.asked < self.budget or bool(self._abandoned())

    def ask(self) -> OpenTrial | None:
        """The next trial: one that was interrupted, if there is any, then one that waits.

        None if other processes have taken the last ones.
        """
        number = patiently(self._workspace, self._reserve)
        if number is None:
            return None
        self._own.add(number)
        return patiently(self._workspace, lambda: self._open(number))

    def _open(self, number: int) -> OpenTrial:
        """A trial of this process, with its values."""
        frozen = self._study.trials[number]
        self._study.sampler = make_sampler(self._section, number)
        # Optuna has no way to go on with a running trial but its id, which is private.
        trial = Trial(self._study, frozen._trial_id)
        # A process that dies between two values leaves a trial with some of them: it keeps those.
        values = {each.path: each.suggest(trial) for each in self.arm.dimensions}
        return OpenTrial(number, values, trial, set(frozen.intermediate_values))

    def _reserve(self) -> int | None:
        """Make a trial this process's own; its values are drawn outside of the lock.

        One whose answer was lost is nobody's, and found among the abandoned ones.
        """
        with exclusively(self._workspace, self._run):
            abandoned = self._abandoned()
            if abandoned:
                number = abandoned[0]
                trial = Trial(self._study, self._study.trials[number]._trial_id)
            elif self.asked < self.budget:
                self._study.sampler = RandomSampler(seed=0)
                trial = self._study.ask()
                number = trial.number
            else:
                return None
            trial.set_user_attr(RUN, self._run_id)
            return number

    def _abandoned(self) -> list[int]:
        """Running trials that nobody works on: not here, nor in a run with a live process."""
        running = {
            frozen.number: str(frozen.user_attrs.get(RUN, ""))
            for frozen in self._trials()
            if frozen.state is TrialState.RUNNING and frozen.number not in self._own
        }
        taken = taken_runs(self._workspace, set(running.values()))
        return [number for number, run in running.items() if run not in taken]

    def remember_cells(self, trial: OpenTrial, cell_id: str, keys: Mapping[str, str]) -> None:
        """Which cell the trial is, and the keys of the steps that measure it."""

        def remember() -> None:
            # In this order: a trial with a cell but without keys is one of an earlier version.
            trial.trial.set_user_attr(KEYS, dict(keys))
            trial.trial.set_user_attr(CELL, cell_id)

        patiently(self._workspace, remember)

    def report(self, trial: OpenTrial, step: int, value: float) -> bool:
        """Tell a value of the watched curve; whether the trial should end here."""
        if step in trial.reported or len(self._section.metrics) > 1:
            return False  # Optuna compares the curves of trials with one value only
        trial.reported.add(step)
        return patiently(self._workspace, lambda: self._report(trial, step, value))

    def _report(self, trial: OpenTrial, step: int, value: float) -> bool:
        try:
            trial.trial.report(value * _watched_sign(self._section), step)
        except UpdateFinishedTrialError:  # this process slept, and another one ended the trial
            return False
        is_last = step >= self.arm.experiment.training.steps  # nothing is saved any more
        return self._section.pruner != "none" and not is_last and trial.trial.should_prune()

    def complete(
        self, trial: OpenTrial, values: Sequence[float], measured: Mapping[str, float]
    ) -> None:
        """Tell a trial's values."""
        self._end(trial, TrialState.COMPLETE, "", list(values), measured)

    def prune(self, trial: OpenTrial, reason: str) -> None:
        """Tell that a trial was ended early."""
        self._end(trial, TrialState.PRUNED, reason)

    def fail(self, trial: OpenTrial, reason: str) -> None:
        """Tell that a trial has no value."""
        self._end(trial, TrialState.FAIL, reason)

    def _end(
        self,
        trial: OpenTrial,
        state: TrialState,
        reason: str,
        values: list[float] | None = None,
        measured: Mapping[str, float] | None = None,
    ) -> None:
        self._own.discard(trial.number)

        def end() -> None:
            with exclusively(self._workspace, self._run):
                frozen = self._study.trials[trial.number]
                if frozen.state.is_finished() or frozen.user_attrs.get(RUN) != self._run_id:
                    return  # it has ended, or another process has taken it over
                if measured is not None:
                    trial.trial.set_user_attr(MEASURED, dict(measured))
                trial.trial.set_user_attr(SECONDS, round(time.monotonic() - trial.began, 1))
                if reason:
                    trial.trial.set_user_attr(REASON, reason)
                # Last: a trial that ended stays as it is.
                self._study.tell(trial.number, values, state)

        patiently(self._workspace, end)

    def _trials(self) -> list[FrozenTrial]:
        return patiently(self._workspace, lambda: self._study.get_trials(deepcopy=False))

    def _queue_known_points(self) -> None:
        """The base's own values are the first trial; a grid is all known in advance."""
        if self._section.sampler == "grid":
            points = grid_points(self.arm.dimensions, self._section.seed)
            for point in points[len(self._trials()) :]:
                self._study.enqueue_trial(point)
        elif not self._trials() and (start := self.arm.start()) is not None:
            dimensions = {each.path: each for each in self.arm.dimensions}
            self._study.enqueue_trial({p: dimensions[p].encoded(v) for p, v in start.items()})


def _open_study(trial_cells: TrialCells, arm: Arm, again: Chosen | None) -> optuna.Study:
    """The arm's study as it counts today, created if need be.

    Raises:
        ConflictError: it has to be renewed, and another process works on it.
    """
    tuning, workspace = trial_cells.tuning, trial_cells.workspace
    first = study_name(tuning.run, arm.values)
    storage = open_storage(workspace, tuning.run)
    directions = list(tuning.section.directions)
    optuna.create_study(
        study_name=first, storage=storage, directions=directions, load_if_exists=True
    )
    study = newest_study(storage, first)
    stale = out_of_date(study, arm, trial_cells)
    if again is not None:
        failed = study.get_trials(states=[TrialState.FAIL])
        stale |= {each.number: "failed" for each in failed if again(each)}
    if not stale:
        return study
    if taken := [run for run in runs_of(workspace, tuning) if is_taken(workspace, run)]:
        run = taken[0].id
        count = "1 trial" if len(stale) == 1 else f"{len(stale)} trials"
        raise ConflictError(
            f"{count} of {arm.title} would be measured again, and run {run} is tuning it; "
            f"`workflows wait {run}` waits for it, `workflows cancel {run}` stops it"
        )
    return replace_study(storage, first, study, stale)


def _watched_sign(section: TuneSection) -> int:
    """Pruners compare values in the study's own direction: -1 turns the curve round."""
    return 1 if VALIDATION_CURVES[section.watch] == section.directions[0] else -1


def _facts(tuning: Tuning, arm: Arm, run_id: str) -> StudyFacts:
    section = tuning.section
    sign = "-" if _watched_sign(section) < 0 else ""
    choices = {
        each.path: list(each.values)
        for each in arm.dimensions
        if isinstance(each, Choices) and any(choice_text(v) is not v for v in each.values)
    }
    return StudyFacts(
        run=tuning.run,
        grid=tuning.grid,
        arm=dict(arm.values),
        label=arm.label,
        metrics=section.metrics,
        directions=section.directions,
        space={each.path: each.words for each in arm.dimensions},
        trials=section.trials,
        seeds=section.seeds,
        training_steps=arm.experiment.training.steps,
        held_out=section.held_out,
        choices=choices,
        run_id=run_id,
        watched=f"{sign}{section.watch}" if section.pruner != "none" else "",
        ranges=arm.ranges(tuning.bench),
    )
