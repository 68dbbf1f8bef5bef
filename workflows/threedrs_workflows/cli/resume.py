"""`workflows resume`: go on with a run that was interrupted or whose process died."""

from __future__ import annotations

import argparse
from dataclasses import replace

from threedrs_platform.database.outbox import count_open
from threedrs_platform.database.run_reader import RunRow
from threedrs_platform.errors import ConfigError, ConflictError, Fault
from threedrs_platform.states import RunState
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.cli.output import emit, say
from threedrs_workflows.cli.ray_runs import attached, job_server, leave_to_cluster
from threedrs_workflows.cli.run_arguments import (
    add_detachment,
    add_run_argument,
    add_slurm_arguments,
    add_supervision_arguments,
)
from threedrs_workflows.cli.slurm_runs import asked_of, work_on_slurm
from threedrs_workflows.cli.supervision import (
    BUDGET,
    budget_of,
    refuse_wrong_ray,
    work,
)
from threedrs_workflows.cli.tune import go_on
from threedrs_workflows.engine.budget import Budget
from threedrs_workflows.plan.submission import plan_cells, replan
from threedrs_workflows.tracking.tracker import start_tracker

SUMMARY = "go on with a run that was interrupted"

EXAMPLES = """\
examples:
  workflows resume              the last run
  workflows resume teachers-20260801-101500-3f2a
  workflows resume RUN --slurm          submits jobs for what is left
  workflows resume RUN --budget 40      GPU-hours that the run may spend in all

Long steps go on from their last checkpoint. Steps whose code was edited since are planned anew.
Failed steps are tried again, too; `workflows retry` can choose among them by what went wrong.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    add_run_argument(parser)
    parser.add_argument(
        "--budget",
        type=float,
        metavar="GPU_HOURS",
        help="a new cap on what the run may spend, with what it has spent already",
    )
    add_supervision_arguments(parser)
    add_slurm_arguments(parser)
    add_detachment(parser)


def run(args: argparse.Namespace) -> int:
    """Plan the run's cells again and work on what is left."""
    asked = asked_of(args)
    with find_workspace(args.workspace, args.db, with_runs=True) as workspace:
        found = workspace.runs.get(args.run)
        if found.has_live_owner:
            if (job := attached(args, found)) is not None:
                text = f"run {found.id} is supervised already by {job.text()}"
                emit(args, {"run": found.id, **job.as_json(), "exit": 0}, text)
                return 0
            raise ConflictError(
                f"run {found.id} is being worked on by {found.owner}; "
                f"`workflows wait {found.id}` waits for it"
            )
        if "tune" in found.options:
            if args.budget is not None:
                _set_budget(workspace, found, args.budget)
            return go_on(args, workspace, workspace.runs.get(found.id))
        if found.state in (RunState.PARTIAL, RunState.FAILED):
            say(args, f"run {found.id} is over; its failed steps are tried again")
        elif found.state is RunState.SUCCEEDED and _nothing_is_left(workspace, found):
            text = f"run {found.id} is over, nothing of it is left to do; see `workflows results`"
            if count_open(workspace.database) and (tracker := start_tracker(workspace, found.id)):
                say(args, tracker.finish() or "what waited for MLflow is delivered")
            emit(args, {"run": found.id, "state": found.state, "exit": 0}, text)
            return 0
        if args.budget is not None:
            _set_budget(workspace, found, args.budget)
        refuse_wrong_ray(args)
        if (jobs := job_server(args)) is not None:
            workspace.runs.reopen(found.id)
            return leave_to_cluster(args, workspace, found.id, jobs)
        plan = replan(workspace, found.id)
        if args.slurm and plan.misses:
            if args.max_failures is not None:
                workspace.runs.set_option(found.id, "max_failures", args.max_failures)
            workspace.runs.reopen(found.id)
            return work_on_slurm(args, workspace, found.id, plan, asked)
        return work(args, workspace, found.id, plan)


def _set_budget(workspace: Workspace, run: RunRow, gpu_hours: float) -> None:
    if not gpu_hours > 0:
        raise ConfigError([Fault("expected more than 0 GPU-hours", "--budget")])
    before = budget_of(run)
    budget = Budget(gpu_hours) if before is None else replace(before, gpu_hours=gpu_hours)
    workspace.runs.set_option(run.id, BUDGET, budget.as_option())


def _nothing_is_left(workspace: Workspace, run: RunRow) -> bool:
    """Whether every result of the run is there, of today's code."""
    return not plan_cells(workspace, workspace.runs.cells(run.id)).misses
