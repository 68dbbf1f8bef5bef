"""A supervisor in a process of its own, to be killed, stopped and interrupted by tests.

    python -m threedrs_workflows.testing.worker WORKSPACE LEDGER submit|resume [options as JSON]

It works on a fixed grid of fake steps. Every execution leaves a line in the ledger. At SIGUSR1 its
clock jumps.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import sys
from typing import Any

from threedrs_platform.compute.in_process import Compute, InProcessCompute
from threedrs_platform.compute.open import open_compute
from threedrs_platform.database.runs import Submission
from threedrs_platform.states import RunState
from threedrs_platform.steps import Cell
from threedrs_platform.testing.fake_cells import fans
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.cli.supervision import EXIT_CODES, interruptible
from threedrs_workflows.engine.display import PlainDisplay
from threedrs_workflows.engine.run_context import SupervisorOptions
from threedrs_workflows.engine.supervisor import Supervisor
from threedrs_workflows.plan.submission import plan_cells, record, replan
from threedrs_workflows.testing.disturbances import JumpingClock

DEFAULTS: dict[str, Any] = {
    "cells": 20,
    "seconds": 0.02,
    "lease_s": 60.0,
    "jobs": 2,
    "db": None,
    "store": None,
    "ray": "none",
    "result": "count",
}


def grid(ledger: str, options: dict[str, Any]) -> list[Cell]:
    """The grid that all workers of a test share."""
    return fans(
        options["cells"],
        options["result"],
        ledger=ledger,
        seconds=options["seconds"],
        steady=True,
    )


def work(workspace: Workspace, ledger: str, verb: str, options: dict[str, Any]) -> RunState:
    """Submit the grid, or resume the last run."""
    if verb == "submit":
        plan = plan_cells(workspace, grid(ledger, options))
        run_id = record(workspace, Submission("fans", "fans.yaml", "", {}), plan)
    else:
        run_id = workspace.runs.get("last").id
        plan = replan(workspace, run_id)
    chosen = SupervisorOptions(lease_s=options["lease_s"], poll_s=0.05)
    with interruptible() as stop:
        jobs, ray = options["jobs"], options["ray"]
        compute: Compute = InProcessCompute(jobs) if ray == "none" else open_compute(ray, jobs)
        display = PlainDisplay(sys.stderr)
        with contextlib.closing(compute):
            return Supervisor(workspace, compute, chosen, display, stop=stop).run(run_id, plan)


def main() -> int:
    """Entry of the process."""
    folder, ledger, verb, *rest = sys.argv[1:]
    options = DEFAULTS | (json.loads(rest[0]) if rest else {})
    with (
        find_workspace(folder, options["db"], options["store"], environment={}) as workspace,
        JumpingClock(workspace.database, random.Random(), every=0) as clock,
    ):
        signal.signal(signal.SIGUSR1, lambda *_: clock.jump())
        return EXIT_CODES[work(workspace, ledger, verb, options)]


if __name__ == "__main__":
    sys.exit(main())
