"""One arm's study: asks for trials, tells what came of them, and goes on where it was stopped."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from threedrs_components.objectives.registry import VALIDATION_CURVES
from threedrs_platform.database.studies import (
    CELL,
    KEYS,
    MEASURED,
    REASON,
    SECONDS,
    choice_text,
    keep_facts,
    open_storage,
    read_study,
    study_name,
)
from threedrs_platform.database.trials import StudyFacts, StudyView
from threedrs_workflows.grid.tune_arms import Arm, Tuning, looking_interval
from threedrs_workflows.grid.tune_section import TuneSection
from threedrs_workflows.grid.tune_space import Choices
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


class ArmStudy:
    """The study of one arm. One process works on it, and nobody else tells it anything."""

    def __init__(self, trial_cells: TrialCells, arm: Arm, run_id: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        tuning = trial_cells.tuning
        self.arm, self._section = arm, tuning.section
        self._study = _open_study(trial_cells, arm)
        self._study.pruner = make_pruner(
            self._section, looking_interval(arm.experiment), arm.experiment.training.steps
        )
        keep_facts(self._study, _facts(tuning, arm, run_id))
        self._queue_known_points()
        self._left_open = [
            frozen.number for frozen in self._trials() if frozen.state is TrialState.RUNNING
        ]

    def view(self, with_importance: bool = True) -> StudyView:
        """What the study has found so far."""
        return read_study(self._study, with_importance)

    @property
    def budget(self) -> int:
        """Trials in all; a grid ends with its last point."""
        if self._section.sampler != "grid":
            return self._section.trials
        return min(self._section.trials, len(grid_points(self.arm.dimensions, 0)))

    @property
    def asked(self) -> int:
        """Trials that have begun, in this process or before, and are not out of date."""
        return sum(frozen.state is not TrialState.WAITING for frozen in self._trials())

    @property
    def left_open(self) -> int:
        """Trials that an earlier process began and did not end."""
        return len(self._left_open)

    @property
    def has_more(self) -> bool:
        """Whether a trial is left to be worked on: interrupted ones, then new ones."""
        return bool(self._left_open) or self.asked < self.budget

    def ask(self) -> OpenTrial:
        """The next trial: one that was interrupted, if there is any, then one that waits."""
        if self._left_open:
            frozen = self._study.trials[self._left_open.pop(0)]
            self._study.sampler = make_sampler(self._section, frozen.number)
            # Optuna has no way to go on with a running trial but its id, which is private.
            trial = Trial(self._study, frozen._trial_id)
        else:
            self._study.sampler = make_sampler(self._section, self.asked)
            trial = self._study.ask()
        # A process that dies between two values leaves a trial with some of them: it keeps those.
        values = {each.path: each.suggest(trial) for each in self.arm.dimensions}
        known = set(self._study.trials[trial.number].intermediate_values)
        return OpenTrial(trial.number, values, trial, known)

    def remember_cells(self, trial: OpenTrial, cell_id: str, keys: Mapping[str, str]) -> None:
        """Which cell the trial is, and the keys of the steps that measure it."""
        # In this order: a trial with a cell but without keys is one of an earlier version.
        trial.trial.set_user_attr(KEYS, dict(keys))
        trial.trial.set_user_attr(CELL, cell_id)

    def report(self, trial: OpenTrial, step: int, value: float) -> bool:
        """Tell a value of the watched curve; whether the trial should end here."""
        if step in trial.reported or len(self._section.metrics) > 1:
            return False  # Optuna compares the curves of trials with one value only
        trial.reported.add(step)
        trial.trial.report(value * _watched_sign(self._section), step)
        is_last = step >= self.arm.experiment.training.steps  # nothing is saved any more
        return self._section.pruner != "none" and not is_last and trial.trial.should_prune()

    def complete(
        self, trial: OpenTrial, values: Sequence[float], measured: Mapping[str, float]
    ) -> None:
        """Tell a trial's values."""
        trial.trial.set_user_attr(MEASURED, dict(measured))
        self._end(trial, TrialState.COMPLETE, "", list(values))

    def prune(self, trial: OpenTrial, reason: str) -> None:
        """Tell that a trial was ended early."""
        self._end(trial, TrialState.PRUNED, reason)

    def fail(self, trial: OpenTrial, reason: str) -> None:
        """Tell that a trial has no value."""
        self._end(trial, TrialState.FAIL, reason)

    def _end(
        self, trial: OpenTrial, state: TrialState, reason: str, values: list[float] | None = None
    ) -> None:
        trial.trial.set_user_attr(SECONDS, round(time.monotonic() - trial.began, 1))
        if reason:
            trial.trial.set_user_attr(REASON, reason)
        self._study.tell(trial.number, values, state)  # last: Optuna changes no trial that ended

    def _trials(self) -> list[optuna.trial.FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _queue_known_points(self) -> None:
        """The base's own values are the first trial; a grid is all known in advance."""
        if self._section.sampler == "grid":
            points = grid_points(self.arm.dimensions, self._section.seed)
            for point in points[len(self._trials()) :]:
                self._study.enqueue_trial(point)
        elif not self._trials() and (start := self.arm.start()) is not None:
            dimensions = {each.path: each for each in self.arm.dimensions}
            self._study.enqueue_trial({p: dimensions[p].encoded(v) for p, v in start.items()})


def _open_study(trial_cells: TrialCells, arm: Arm) -> optuna.Study:
    """The arm's study as it counts today, created if need be."""
    tuning = trial_cells.tuning
    first = study_name(tuning.run, arm.values)
    storage = open_storage(trial_cells.workspace, tuning.run)
    directions = list(tuning.section.directions)
    optuna.create_study(
        study_name=first, storage=storage, directions=directions, load_if_exists=True
    )
    study = newest_study(storage, first)
    stale = out_of_date(study, arm, trial_cells)
    return replace_study(storage, first, study, stale) if stale else study


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
    )
