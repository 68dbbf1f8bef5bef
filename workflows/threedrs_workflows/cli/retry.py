"""`workflows retry`: new attempts for the failed steps of a run."""

from __future__ import annotations

import argparse

from threedrs_platform.states import FailureClass, StepState
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.cli.output import emit
from threedrs_workflows.cli.run_arguments import add_run_argument, add_supervision_arguments
from threedrs_workflows.cli.supervision import refuse_wrong_ray, work
from threedrs_workflows.cli.tune import go_on
from threedrs_workflows.plan.submission import replan

SUMMARY = "try the failed steps of a run again"

EXAMPLES = """\
examples:
  workflows retry                    the last run
  workflows retry RUN --class oom    only steps that ran out of memory

Of a tuning run the failed trials are measured again, under their numbers.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    add_run_argument(parser)
    parser.add_argument(
        "--class",
        dest="failure",
        choices=[each.value for each in FailureClass],
        help="only the steps that failed in this way",
    )
    add_supervision_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Work on the run again if it has failed steps."""
    with find_workspace(args.workspace, args.db, with_runs=True) as workspace:
        found = workspace.runs.get(args.run)
        if "tune" in found.options:
            return go_on(args, workspace, found, failed=True)
        failed = failed_steps(workspace, found.id)
        chosen = {key for key, failure in failed.items() if args.failure in (None, failure)}
        if not chosen:
            what = f"failed steps of class {args.failure}" if args.failure else "failed steps"
            emit(args, {"run": found.id, "retried": []}, f"run {found.id} has no {what}")
            return 0
        refuse_wrong_ray(args)
        plan = replan(workspace, found.id, leave=failed.keys() - chosen)
        return work(args, workspace, found.id, plan)


def failed_steps(workspace: Workspace, run_id: str) -> dict[str, str | None]:
    """Class of failure of a run's failed steps by key."""
    rows = workspace.journal.rows(workspace.runs.step_keys(run_id)).values()
    return {row.key: row.failure for row in rows if row.state is StepState.FAILED}
