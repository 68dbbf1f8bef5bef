"""A tuning run from its first trial, or from where it was interrupted."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import func, select

from threedrs_platform.database import schema
from threedrs_platform.database.runs import RunRow, Submission
from threedrs_platform.database.studies import (
    facts_of,
    open_storage,
    prepare_storage,
    study_name,
    study_names,
)
from threedrs_platform.errors import ConflictError
from threedrs_platform.workspace import Workspace
from threedrs_workflows.grid.tune_arms import Tuning
from threedrs_workflows.plan.binding import bind_cell
from threedrs_workflows.plan.submission import plan_cells, record
from threedrs_workflows.tuning.arm_study import ArmStudy
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


def with_budget(tuning: Tuning, trials: int | None, parallel: int | None) -> Tuning:
    """The same search with another budget, or more at a time."""
    changes = {"trials": trials, "parallel": parallel}
    given = {key: value for key, value in changes.items() if value is not None}
    return replace(tuning, section=tuning.section.model_copy(update=given))


def open_session(
    workspace: Workspace, tuning: Tuning, submission: Submission, bind: BindCell = bind_cell
) -> Session:
    """Begin a tuning run, or take up the one that searches the same.

    Raises:
        ConflictError: another process works on it.
    """
    prepare_storage(workspace)
    known = _known_run(workspace, tuning)
    if known is not None and known.has_live_owner:
        raise ConflictError(
            f"{known.owner} is tuning this already in run {known.id}; "
            f"`workflows wait {known.id}` waits for it"
        )
    run_id = record(workspace, submission, plan_cells(workspace, [])) if known is None else known.id
    trial_cells = TrialCells(workspace, tuning, bind)
    studies = [ArmStudy(trial_cells, arm, run_id) for arm in tuning.arms]
    return Session(run_id, studies, Tuner(trial_cells, run_id, studies), known is not None)


def trials_out_of_date(
    workspace: Workspace, tuning: Tuning, bind: BindCell = bind_cell
) -> dict[str, dict[int, str]]:
    """Arm -> number -> why, of the trials that the next session measures again. Changes nothing."""
    found, known = {}, study_names(workspace)
    for arm in tuning.arms:
        first = study_name(tuning.run, arm.values)
        if first in known:
            study = newest_study(open_storage(workspace, tuning.run), first)
            found[arm.name] = out_of_date(study, arm, TrialCells(workspace, tuning, bind))
    return found


def _known_run(workspace: Workspace, tuning: Tuning) -> RunRow | None:
    """The submission that worked on these studies before, if the database still has it."""
    first = study_name(tuning.run, tuning.arms[0].values)
    if first not in study_names(workspace):
        return None
    study = newest_study(open_storage(workspace, tuning.run), first)
    # A process that dies between making a study and describing it leaves one without facts.
    run_id = facts_of(study).run_id if study.user_attrs else ""
    recorded = select(schema.runs.c.id).where(schema.runs.c.id == run_id)
    with workspace.database.read() as connection:
        exists = connection.scalar(recorded) is not None
    return workspace.runs.get(run_id) if exists else None


@dataclass(frozen=True)
class TrainingCounts:
    """How many trainings the trials of a run have had; each begins once."""

    begun: int
    finished: int


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
