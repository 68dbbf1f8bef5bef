"""A tuning run from its first trial, or from where it was interrupted, to its written outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
from sqlalchemy import func, select

from threedrs_platform.database import schema
from threedrs_platform.database.runs import RunRow, Submission
from threedrs_platform.database.studies import (
    StudyFacts,
    open_storage,
    prepare_storage,
    study_name,
    study_names,
    tuning_folder,
)
from threedrs_platform.errors import ConflictError
from threedrs_platform.storage import write_atomically
from threedrs_platform.workspace import Workspace
from threedrs_workflows.plan.binding import bind_cell
from threedrs_workflows.plan.submission import plan_cells, record
from threedrs_workflows.tuning.arm_study import ArmStudy
from threedrs_workflows.tuning.arms import Tuning
from threedrs_workflows.tuning.best_grid import best_grid
from threedrs_workflows.tuning.outcome import ArmOutcome, outcome_of
from threedrs_workflows.tuning.plots import plots_page
from threedrs_workflows.tuning.tables import trials_csv
from threedrs_workflows.tuning.tuner import Bind, Tuner


@dataclass
class Session:
    """One process's work on a tuning run."""

    run_id: str
    studies: list[ArmStudy]
    tuner: Tuner
    is_resumed: bool

    @property
    def studied(self) -> list[optuna.Study]:
        """Optuna's studies, one per arm."""
        return [arm.study for arm in self.studies]


@dataclass(frozen=True)
class Written:
    """Files that a tuning run leaves."""

    grid: Path | None
    """The best settings; None while no trial was completed in some arm."""
    trials: Path
    plots: Path


def with_budget(tuning: Tuning, trials: int | None, parallel: int | None) -> Tuning:
    """The same search with another budget, or more at a time."""
    changes = {"trials": trials, "parallel": parallel}
    given = {key: value for key, value in changes.items() if value is not None}
    return replace(tuning, section=tuning.section.model_copy(update=given))


def open_session(
    workspace: Workspace, tuning: Tuning, submission: Submission, bind: Bind = bind_cell
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
    studies = [ArmStudy(workspace, tuning, arm, run_id) for arm in tuning.arms]
    tuner = Tuner(workspace, tuning, run_id, studies, bind)
    return Session(run_id, studies, tuner, known is not None)


def _known_run(workspace: Workspace, tuning: Tuning) -> RunRow | None:
    """The submission that worked on these studies before, if the database still has it."""
    name = study_name(tuning.run, tuning.arms[0].values)
    if name not in study_names(workspace):
        return None
    study = optuna.load_study(study_name=name, storage=open_storage(workspace, tuning.run))
    run_id = StudyFacts.of(study).run_id if study.user_attrs else ""
    recorded = select(schema.runs.c.id).where(schema.runs.c.id == run_id)
    with workspace.database.read() as connection:
        exists = connection.scalar(recorded) is not None
    return workspace.runs.get(run_id) if exists else None


def outcomes_of(studies: Sequence[optuna.Study]) -> list[ArmOutcome]:
    """What all arms have found."""
    return [outcome_of(study) for study in studies]


def write_outcome(workspace: Workspace, tuning: Tuning, studies: Sequence[optuna.Study]) -> Written:
    """Write the best settings, the trials and the plots beside the studies."""
    outcomes = outcomes_of(studies)
    folder = tuning_folder(workspace.root, tuning.run)
    grid = folder / "best.yaml" if all(outcome.best for outcome in outcomes) else None
    if grid is not None:
        write_atomically(grid, best_grid(tuning, outcomes).encode())
    trials, plots = folder / "trials.csv", folder / "plots.html"
    write_atomically(trials, trials_csv(outcomes).encode())
    page = plots_page(f"Tuning {tuning.run}", list(zip(outcomes, studies, strict=True)))
    write_atomically(plots, page.encode())
    return Written(grid, trials, plots)


@dataclass(frozen=True)
class Trainings:
    """How many trainings the trials of a run have had; each begins once."""

    begun: int
    finished: int


def count_trainings(workspace: Workspace, run_id: str) -> Trainings:
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
    return Trainings(int(begun or 0), int(finished or 0))
