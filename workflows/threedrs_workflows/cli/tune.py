"""`workflows tune`: search for the best settings with trials that are ordinary cells."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from threedrs_platform.database.events import Event
from threedrs_platform.database.run_reader import RunRow
from threedrs_platform.database.runs import Submission
from threedrs_platform.database.trials import out_of_date_notes
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.states import RunState
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.cli.grid_arguments import add_grid_arguments, grid_of
from threedrs_workflows.cli.output import emit, say, say_absence
from threedrs_workflows.cli.run_arguments import add_supervision_arguments
from threedrs_workflows.cli.supervision import (
    BUDGET,
    EXIT_CODES,
    budget_of,
    refuse_wrong_ray,
    supervise,
)
from threedrs_workflows.cli.tune_output import (
    outcome_content,
    outcome_text,
    search_content,
    search_text,
)
from threedrs_workflows.engine.budget import Budget
from threedrs_workflows.grid.cells import GridCells
from threedrs_workflows.grid.packages import refuse_missing_readers
from threedrs_workflows.grid.tune_arms import Tuning, with_budget
from threedrs_workflows.plan.submission import plan_cells
from threedrs_workflows.tuning.partners import submission_name

if TYPE_CHECKING:
    from threedrs_workflows.tuning.arm_study import ArmStudy, Chosen

SUMMARY = "search for the best settings of a grid, on held-out training scenes"

EXAMPLES = """\
The grid file says in its `tune:` section what is searched; see ablations.yaml for an example.

examples:
  workflows tune ablations.yaml                 search; again after an interruption: it goes on
  workflows tune ablations.yaml --smoke         the same in tiny sizes
  workflows tune ablations.yaml --trials 40     go on with a larger budget
  workflows tune ablations.yaml -n              show what would be searched

Trials share steps with each other and with the grid, and run at most once. The same command on
another machine helps: both share one budget of trials. A trial whose training diverged counts as
one; `workflows retry RUN` tries failed trials again. At the end the best settings stand in a grid
file of their own, which `workflows submit` takes.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    add_grid_arguments(parser)
    parser.add_argument("-n", "--dry-run", action="store_true", help="show the search, run nothing")
    parser.add_argument("--trials", type=int, metavar="N", help="of each arm; default: tune.trials")
    parser.add_argument(
        "--parallel", type=int, metavar="N", help="trials at a time; default: tune.parallel"
    )
    add_supervision_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Ask, run and tell trials until the budget is spent; print and write what was found."""
    grid = grid_of(args)
    tuning = _tuning(args, grid)
    refuse_missing_readers(cell.experiment for cell in grid.cells)
    with find_workspace(args.workspace, args.db, looks=args.dry_run) as workspace:
        if args.dry_run:
            say_absence(args, workspace)
            return _show_search(args, workspace, tuning)
        refuse_wrong_ray(args)
        budget = None if grid.gpu_hours is None else Budget(grid.gpu_hours)
        return _work(args, workspace, grid, tuning, budget)


def _tuning(args: argparse.Namespace, grid: GridCells) -> Tuning:
    if grid.tuning is None:
        message = "has no `tune:` section; `workflows tune --help` shows where to find an example"
        raise ConfigError([Fault(message, file=str(args.file))])
    for flag in ("trials", "parallel"):
        value = getattr(args, flag)
        if value is not None and value < 1:
            raise ConfigError([Fault("expected at least 1", f"--{flag}")])
    return with_budget(grid.tuning, args.trials, args.parallel)


def go_on(
    args: argparse.Namespace, workspace: Workspace, found: RunRow, *, failed: bool = False
) -> int:
    """Go on with a tuning run that `resume` or `retry` name, as it was asked for the last time.

    Args:
        failed: try failed trials again; all, or those that failed as `args.failure` says.

    Raises:
        ConfigError: the grid file searches something else by now.
    """
    from threedrs_workflows.tuning import session as sessions

    said = {name: found.options[name] for name in ("smoke", "sets", "where")}
    args = argparse.Namespace(**{**vars(args), **said, "file": Path(found.grid_file)})
    grid = grid_of(args)
    if grid.tuning is None or grid.tuning.run != found.options["tune"]:
        message = f"no longer searches what run {found.id} did ({found.options['tune']})"
        raise ConfigError([Fault(message, file=found.grid_file)])
    tuning = with_budget(grid.tuning, sessions.known_trials(workspace, grid.tuning), None)
    again = sessions.failed_trials(workspace, tuning, args.failure) if failed else None
    return _work(args, workspace, grid, tuning, budget_of(found), again)


def _show_search(args: argparse.Namespace, workspace: Workspace, tuning: Tuning) -> int:
    """What would be searched, and what of an earlier search would be measured again."""
    from threedrs_workflows.tuning.session import trials_out_of_date

    stale = trials_out_of_date(workspace, tuning)
    titles = {arm.name: arm.title for arm in tuning.arms}
    notes = [
        f"{titles[arm]}: {note}; they would be measured again"
        for arm, reasons in stale.items()
        for note in out_of_date_notes(reasons)
    ]
    content = {**search_content(tuning), "out_of_date": stale}
    emit(args, content, "\n".join([search_text(tuning), *notes]))
    return 0


def _work(
    args: argparse.Namespace,
    workspace: Workspace,
    grid: GridCells,
    tuning: Tuning,
    budget: Budget | None,
    again: Chosen | None = None,
) -> int:
    from threedrs_workflows.tuning import session as sessions
    from threedrs_workflows.tuning.files import write_files

    options = {"tune": tuning.run, "smoke": args.smoke, "sets": args.sets, "where": args.where}
    file, name = str(args.file.resolve()), submission_name(tuning.grid)
    submission = Submission(name, file, grid.source_text, options)
    session = sessions.open_session(workspace, tuning, submission, again=again)
    workspace.runs.pause(session.run_id, False)
    if session.is_resumed:
        workspace.runs.tell(session.run_id, [Event("run.resumed")])
        say(args, _standing(tuning, session.studies))
    state = RunState.SUCCEEDED
    if not session.tuner.is_over:
        workspace.runs.set_option(session.run_id, BUDGET, budget and budget.as_option())
        plan, hint = (
            plan_cells(workspace, []),
            f"go on with: {tune_line(args, grid.tuning, tuning)}",
        )
        tuner = session.tuner
        state, _ = supervise(args, workspace, session.run_id, plan, hint, tuner, budget)
    studies = [study.view() for study in session.studies]
    files = write_files(workspace, tuning, studies)
    trainings = sessions.count_trainings(workspace, session.run_id)
    content = {
        "run": session.run_id,
        "study": tuning.run,
        "state": state,
        "exit": EXIT_CODES[state],
        "stopped": session.tuner.stopped,
        "trainings": vars(trainings),
        "arms": [outcome_content(study) for study in studies],
        "files": {name: str(path) for name, path in vars(files).items() if path},
    }
    parts = [outcome_text(study) for study in studies]
    given_up = trainings.begun - trainings.finished
    parts.append(
        f"{trainings.begun} trainings in run {session.run_id}: "
        f"{trainings.finished} brought to their end, {given_up} given up or failed"
    )
    if session.tuner.stopped:
        parts.append(f"stopped early: {session.tuner.stopped}")
    if state is RunState.PAUSED and budget is not None:
        parts.append(
            f"paused: the budget of {budget.gpu_hours:g} GPU-hours holds no further step; go on "
            f"with: workflows resume {session.run_id} --budget GPU_HOURS"
        )
    if files.grid is not None:
        parts.append(f"trials: {files.trials}\nplots:  {files.plots}")
        parts.append(f"submit the best settings with: {submit_line(args, files.grid)}")
    emit(args, content, "\n\n".join(parts))
    return EXIT_CODES[state]


def _standing(tuning: Tuning, studies: Sequence[ArmStudy]) -> str:
    """Where an interrupted or finished tuning run stands."""
    begun, open_ = sum(arm.asked for arm in studies), sum(arm.left_open for arm in studies)
    budget = sum(arm.budget for arm in studies)
    left = f", {open_} of them interrupted" if open_ else ""
    lines = [f"going on with tuning run {tuning.run}: {begun} of {budget} trials have begun{left}"]
    for arm in studies:
        notes = arm.view(with_importance=False).notes()
        lines += [f"{arm.arm.title}: {note}" for note in notes]
    return "\n".join(lines)


def submit_line(args: argparse.Namespace, grid: Path) -> str:
    """The command that submits a grid of best settings as this search has run its trials."""
    sets = [each for each in args.sets if "," not in each]
    return shlex.join(["workflows", "submit", str(grid), *_flags(args, sets)])


def tune_line(args: argparse.Namespace, said: Tuning | None, asked: Tuning) -> str:
    """The command that goes on with this very search; other sizes would be another one.

    Args:
        args: of the verb.
        said: the search as the grid file says it.
        asked: with the budget that was asked for, which the line repeats where it is another one.
    """
    where = ["--where", args.where] if args.where else []
    budget: list[str] = []
    for flag in ("trials", "parallel"):
        value = getattr(asked.section, flag)
        if said is None or value != getattr(said.section, flag):
            budget += [f"--{flag}", str(value)]
    words = ["workflows", "tune", str(args.file), *_flags(args, args.sets), *where, *budget]
    return shlex.join(words)


def _flags(args: argparse.Namespace, sets: Sequence[str]) -> list[str]:
    flags = ["--smoke"] if args.smoke else []
    flags += [word for each in sets for word in ("--set", each)]
    return flags + (["--workspace", str(args.workspace)] if args.workspace else [])
