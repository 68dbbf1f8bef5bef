"""`workflows wait`: until a run is over; its outcome is the exit code."""

from __future__ import annotations

import argparse
import time

from threedrs_platform.states import RunState
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.cli.elsewhere import how_to_resume
from threedrs_workflows.cli.output import emit
from threedrs_workflows.cli.run_arguments import add_run_argument
from threedrs_workflows.cli.slurm_runs import POLL_S, RunWatch
from threedrs_workflows.cli.supervision import EXIT_CODES

SUMMARY = "wait until a run is over; the exit code says how it ended"

EXAMPLES = """\
examples:
  workflows wait                     the last run
  workflows wait RUN --timeout 600   exit 75 if it still runs after ten minutes
"""

STILL_RUNNING = 75


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    add_run_argument(parser)
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="wait no longer; default: until the end"
    )


def run(args: argparse.Namespace) -> int:
    """Poll the journal."""
    end = None if args.timeout is None else time.monotonic() + args.timeout
    with find_workspace(args.workspace, args.db, with_runs=True) as workspace:
        watch = _wait(workspace, workspace.runs.get(args.run).id, end)
        code, text = _outcome(watch)
        found = watch.run
    emit(args, {"run": found.id, "state": found.state, "exit": code}, text)
    return code


def _wait(workspace: Workspace, run_id: str, end: float | None) -> RunWatch:
    watch = RunWatch(workspace, run_id)
    while watch.goes_on() and (end is None or time.monotonic() < end):
        time.sleep(POLL_S)
    return watch


def _outcome(watch: RunWatch) -> tuple[int, str]:
    found = watch.run
    if found.state is not RunState.RUNNING:
        return EXIT_CODES[found.state], f"run {found.id}: {found.state}"
    if watch.goes_on():
        return STILL_RUNNING, f"run {found.id} is still running"
    text = f"run {found.id}: its process is gone\n{how_to_resume(found)}"
    return EXIT_CODES[RunState.INTERRUPTED], text
