"""`workflows submit`: run a grid. What is done already is not done again."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from threedrs_workflows.cli.grid_arguments import add_grid_arguments, grid_of
from threedrs_workflows.cli.output import emit
from threedrs_workflows.cli.run_arguments import (
    add_detachment,
    add_slurm_arguments,
    add_supervision_arguments,
)

if TYPE_CHECKING:
    from threedrs_platform.database.runs import Submission
    from threedrs_platform.steps import JSON, Cell
    from threedrs_platform.workspace import Workspace
    from threedrs_workflows.grid.cells import GridCells
    from threedrs_workflows.plan.plan import Plan

SUMMARY = "run a grid; what is done already is not done again"

EXAMPLES = """\
examples:
  workflows submit ablations.yaml
  workflows submit ablations.yaml --smoke              tiny sizes, one seed: does it work at all?
  workflows submit ablations.yaml -n                   only show what would run
  workflows submit ablations.yaml --until extract      up to the teachers' features
  workflows submit ablations.yaml --refresh finetune@baseline
  workflows submit ablations.yaml --ray none           in this process instead of on Ray
  workflows submit ablations.yaml --slurm --slurm-options "--partition=gpu --account=me"
  workflows submit ablations.yaml --ray HEAD:6379      leave it to a cluster and return at once

Ctrl-C stops the run and keeps what is done; `workflows resume RUN` goes on.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    add_grid_arguments(parser)
    parser.add_argument("-n", "--dry-run", action="store_true", help="show the plan, run nothing")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--until", metavar="KIND", help="run steps of this kind and what they need")
    part.add_argument("--only", metavar="KIND", help="run steps of this kind and nothing else")
    parser.add_argument(
        "--refresh",
        metavar="STEP[@CELL]",
        action="append",
        default=[],
        help="compute these steps again; may be repeated",
    )
    parser.add_argument(
        "--priority",
        type=int,
        default=0,
        metavar="N",
        help="of several runs, steps of the one with the highest start first; default: 0",
    )
    parser.add_argument(
        "--note", metavar="TEXT", default="", help="what this run is for; shown with it, for people"
    )
    add_supervision_arguments(parser)
    add_slurm_arguments(parser)
    add_detachment(parser)


def run(args: argparse.Namespace) -> int:
    """Plan, record, and work on the run until it ends."""
    # Not at the top, here and below: who asks for help should not wait for what is not needed.
    from threedrs_platform.workspace import find_workspace
    from threedrs_workflows.cli.ray_runs import job_server, leave_to_cluster
    from threedrs_workflows.cli.slurm_runs import asked_of, work_on_slurm
    from threedrs_workflows.cli.supervision import chosen_ray, refuse_wrong_ray, work
    from threedrs_workflows.grid.packages import refuse_missing_packages
    from threedrs_workflows.grid.starts import refuse_wrong_records
    from threedrs_workflows.plan.submission import record

    refuse_wrong_ray(args, needed=False)
    grid, asked = grid_of(args), asked_of(args)
    with find_workspace(args.workspace, args.db, looks=args.dry_run) as workspace:
        plan = _plan(args, workspace, grid)
        if args.dry_run:
            from threedrs_workflows.cli.output import say_absence
            from threedrs_workflows.cli.plan import plan_content, plan_text

            say_absence(args, workspace)
            emit(args, plan_content(grid, plan), plan_text(grid, plan))
            return 0
        refuse_wrong_records(cell.experiment for cell in grid.cells)
        refuse_wrong_ray(args, bool(plan.misses))
        trains = any(step.spec.kind == "finetune" for step in plan.misses)
        if trains and not args.slurm and chosen_ray(args) in ("local", "none"):
            refuse_missing_packages(cell.experiment for cell in grid.cells)
        args.no_report |= bool(args.until or args.only)
        jobs = job_server(args) if plan.misses else None
        run_id = record(workspace, _submission(args, workspace, grid, plan), plan)
        if args.slurm and plan.misses:
            return work_on_slurm(args, workspace, run_id, plan, asked)
        if jobs is not None:
            return leave_to_cluster(args, workspace, run_id, jobs)
        return work(args, workspace, run_id, plan)


def _plan(args: argparse.Namespace, workspace: Workspace, grid: GridCells) -> Plan:
    from threedrs_workflows.cli.hashing import show_hashing
    from threedrs_workflows.plan.binding import bind_cells
    from threedrs_workflows.plan.submission import plan_cells, refuse_other_kinds, until

    show_hashing(args, workspace.files)
    cells: Sequence[Cell] = bind_cells(grid, workspace.files)
    if args.until or args.only:
        cells = until(cells, args.until or args.only, "--until" if args.until else "--only")
    plan = plan_cells(workspace, cells, args.refresh)
    if args.only:
        refuse_other_kinds(plan, args.only)
    return plan


def _submission(
    args: argparse.Namespace, workspace: Workspace, grid: GridCells, plan: Plan
) -> Submission:
    from threedrs_platform.database.runs import Submission
    from threedrs_workflows.cli.supervision import BUDGET
    from threedrs_workflows.slurm.jobs import SLURM_STEPS
    from threedrs_workflows.tracking.tracker import source_commit

    names = ("smoke", "sets", "where", "until", "only", "refresh")
    options = {name: getattr(args, name) for name in names}
    options |= {name: vars(args)[name] for name in ("priority", "max_failures") if vars(args)[name]}
    told = {"note": args.note.strip(), "commit": source_commit()}
    options |= {name: text for name, text in told.items() if text}
    if steps := _slurm_settings(grid):
        options[SLURM_STEPS] = steps
    if grid.gpu_hours is not None:
        from threedrs_workflows.engine.budget import Budget
        from threedrs_workflows.plan.costs import Assumptions, plan_cost

        expected = plan_cost(workspace, grid, plan, Assumptions()).expected_seconds
        options[BUDGET] = Budget(grid.gpu_hours, expected).as_option()
    return Submission(grid.name, str(args.file.resolve()), grid.source_text, options)


def _slurm_settings(grid: GridCells) -> dict[str, JSON]:
    """What the grid's `steps:` say of Slurm, by kind of step."""
    return {
        kind: resources.slurm.as_option()
        for cell in grid.cells
        for kind, resources in cell.resources.items()
        if resources.slurm is not None
    }
