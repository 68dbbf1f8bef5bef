"""A tuning run from its first trial, or from where it was interrupted."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from threedrs_platform.database import schema
from threedrs_platform.database.runs import Submission
from threedrs_platform.database.studies import (
    CELL,
    exclusively,
    facts_of,
    open_storage,
    patiently,
    prepare_storage,
    study_name,
    study_names,
)
from threedrs_platform.database.turns import whole_turn
from threedrs_platform.workspace import Workspace
from threedrs_workflows.engine.run_context import SupervisorOptions
from threedrs_workflows.grid.tune_arms import Tuning
from threedrs_workflows.plan.binding import bind_cell
from threedrs_workflows.plan.submission import plan_cells, record
from threedrs_workflows.tuning.arm_study import ArmStudy, Chosen
from threedrs_workflows.tuning.partners import is_taken, runs_of
from threedrs_workflows.tuning.renewal import newest_study, out_of_date
from threedrs_workflows.tuning.trial_cells import BindCell, TrialCells
from threedrs_workflows.tuning.tuner import Tuner


@dataclass
class Session:
    """One process's work on a tuning run."""

    run_id: str
    studies: list[ArmStudy]
    tuner: Tuner
    is_resumed: bool


def open_session(
    workspace: Workspace,
    tuning: Tuning,
    submission: Submission,
    bind: BindCell = bind_cell,
    again: Chosen | None = None,
) -> Session:
    """Begin a tuning run, take up the one that searches the same, or help those that work on it.

    The session's run belongs to this process from now on, unless nothing is left to do.

    Args:
        again: which failed trials are tried again.

    Raises:
        ConflictError: trials have to be measured again, and another process works on the study.
    """
    prepare_storage(workspace)
    made: list[str] = []

    def begin() -> Session:
        with exclusively(workspace, tuning.run):
            known = runs_of(workspace, tuning)
            free = [run.id for run in known if not is_taken(workspace, run)]
            if not free:
                made.append(record(workspace, submission, plan_cells(workspace, [])))
            run_id = free[0] if free else made[-1]
            trial_cells = TrialCells(workspace, tuning, bind)
            studies = [ArmStudy(trial_cells, arm, run_id, again) for arm in tuning.arms]
            tuner = Tuner(trial_cells, run_id, studies)
            if not tuner.is_over:
                lease_s = SupervisorOptions().lease_s
                workspace.runs.start(run_id, workspace.journal.owner, lease_s)
        return Session(run_id, studies, tuner, any(run.id not in made for run in known))

    return patiently(workspace, begin)


def known_trials(workspace: Workspace, tuning: Tuning) -> int | None:
    """The budget of trials that the search had the last time; None if it is new."""
    first = study_name(tuning.run, tuning.arms[0].values)

    def read() -> int | None:
        if first not in study_names(workspace, tuning.run):
            return None
        study = newest_study(open_storage(workspace, tuning.run), first)
        return facts_of(study).trials if study.user_attrs else None

    return patiently(workspace, read)


def failed_trials(workspace: Workspace, tuning: Tuning, failure: str | None) -> Chosen:
    """Tells the failed trials that have a step which failed in some way, or in any."""
    cells = {
        cell.cell_id
        for run in runs_of(workspace, tuning)
        for cell, causes in workspace.runs.failures(run.id).items()
        if failure is None or failure in causes
    }
    return lambda trial: trial.user_attrs.get(CELL) in cells


def trials_out_of_date(
    workspace: Workspace, tuning: Tuning, bind: BindCell = bind_cell
) -> dict[str, dict[int, str]]:
    """Arm -> number -> why, of the trials that the next session measures again. Changes nothing."""
    found, known = {}, study_names(workspace, tuning.run)
    for arm in tuning.arms:
        first = study_name(tuning.run, arm.values)
        if first in known:
            study = newest_study(open_storage(workspace, tuning.run), first)
            found[arm.name] = out_of_date(study, arm, TrialCells(workspace, tuning, bind))
    return found


@dataclass(frozen=True)
class TrainingCounts:
    """How many trainings the trials of a run have had; each begins once."""

    begun: int
    finished: int


@whole_turn
def count_trainings(workspace: Workspace, run_id: str) -> TrainingCounts:
    """Trainings that this run executed; those it found done already are not among them."""
    attempts, steps = schema.attempts, schema.steps
    query = (
        select(func.count(attempts.c.step_key.distinct()))
        .join(steps, steps.c.key == attempts.c.step_key)
        .where(attempts.c.run_id == run_id, steps.c.kind == "finetune")
    )
    with workspace.database.read() as connection:
        begun = connection.scalar(query)
        finished = connection.scalar(query.where(attempts.c.state == "committed"))
    return TrainingCounts(int(begun or 0), int(finished or 0))
