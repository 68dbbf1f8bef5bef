"""`workflows pause`: start nothing more of a run; what runs is finished."""

from __future__ import annotations

import argparse

from threedrs_platform.states import RunState
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.cli.output import emit
from threedrs_workflows.cli.run_arguments import add_run_argument

SUMMARY = "start nothing more of a run, until it is resumed"

EXAMPLES = """\
examples:
  workflows pause            the last run; steps that run are finished, then it pauses
  workflows resume RUN       goes on
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    add_run_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Ask whoever works on the run; write it down at once if nobody does."""
    with find_workspace(args.workspace, args.db, with_runs=True) as workspace:
        found = workspace.runs.get(args.run)
        if found.state not in (RunState.RUNNING, RunState.INTERRUPTED):
            text = f"run {found.id} is {found.state}: nothing of it runs"
            emit(args, {"run": found.id, "state": found.state}, text)
            return 0
        workspace.runs.pause(found.id, True)
        state = "pausing"
        if not found.has_live_owner:
            owner = found.owner or workspace.journal.owner
            workspace.runs.finish(found.id, owner, RunState.PAUSED, {})
            state = RunState.PAUSED
    text = f"run {found.id}: {state}; go on with: workflows resume {found.id}"
    emit(args, {"run": found.id, "state": state}, text)
    return 0
