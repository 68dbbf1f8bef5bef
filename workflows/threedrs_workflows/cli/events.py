"""`workflows events`: what happened in a run, as JSON lines with gap-free numbers."""

from __future__ import annotations

import argparse
import json
import time

from threedrs_platform.database.events import read_events
from threedrs_platform.states import RunState
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.cli.output import print_json
from threedrs_workflows.cli.run_arguments import add_run_argument

SUMMARY = "what happened in a run, as JSON lines for programs"

EXAMPLES = """\
examples:
  workflows events                     of the newest run, so far
  workflows events RUN --follow        until the run is over, as they come
  workflows events RUN --after 120     go on behind event 120: numbers have no gaps
"""

POLL_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    add_run_argument(parser)
    parser.add_argument(
        "--after", type=int, default=0, metavar="SEQ", help="only events behind this number"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run is over")


def run(args: argparse.Namespace) -> int:
    """Print events as they come; with --json one object that holds those there are."""
    with find_workspace(args.workspace, args.db, with_runs=True) as workspace:
        run_id = workspace.runs.get(args.run).id
        last = args.after
        if args.json:
            found = read_events(workspace.database, run_id, last)
            print_json(args.verb, {"run": run_id, "events": [event.as_json() for event in found]})
            return 0
        while True:
            row = workspace.runs.get(run_id)
            is_over = row.state is not RunState.RUNNING or not row.has_live_owner
            for event in read_events(workspace.database, run_id, last):
                print(json.dumps(event.as_json()), flush=True)
                last = event.seq
            if is_over or not args.follow:
                return 0
            time.sleep(POLL_S)
