"""Keeps MLflow up to date beside a run, in a process of its own with low priority.

Importing MLflow and creating its tables takes seconds of a core, so no verb does it itself: a
submission starts this process, which follows the run and ends with it. What it does not get to
stays in the outbox for the next one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from threedrs_platform.database.connection import Database
from threedrs_platform.database.events import Event
from threedrs_platform.database.outbox import count_open, try_again, why_open
from threedrs_platform.database.results import Results
from threedrs_platform.shown_urls import DiscreetStream
from threedrs_platform.states import RunState
from threedrs_platform.storage import place_errors
from threedrs_platform.tracking.delivery import Delivery, deliver, local_target
from threedrs_platform.tracking.live import LiveCells
from threedrs_platform.tracking.machine import MachineWatch
from threedrs_platform.tracking.places import Target
from threedrs_platform.workspace import Workspace, find_workspace, is_off
from threedrs_workflows.own_command import python

POLL_S = 2.0
LAST_TRIES = 5
"""Looks after the end of a run at what is not delivered yet."""
LOG_FILE = "tracking.log"
QUIET: Mapping[str, str] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Settings of MLflow that a user's own environment overrides."""


@dataclass(frozen=True)
class Tracker:
    """A running tracking process."""

    process: subprocess.Popen[bytes]
    workspace: Workspace

    def finish(self, timeout_s: float = 20.0) -> str:
        """Wait a while for the process to end; says what is still to be written, or nothing."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            left = count_open(self.workspace.database)
            rest = f" ({left} message{'s' * (left != 1)} left)" if left else ""
            return f"MLflow is still being written in the background{rest}"
        left = count_open(self.workspace.database)
        if not left:
            return ""
        log = self.workspace.root / "logs" / LOG_FILE
        cause = why_open(self.workspace.database)
        why = f" ({cause})" if cause else ""
        return f"{left} messages for MLflow could not be delivered{why} and are kept; see {log}"


def start_tracker(
    workspace: Workspace, run_id: str, environment: Mapping[str, str] = os.environ
) -> Tracker | None:
    """Start the process that follows a run; None if tracking is off.

    The process outlives this one, and sees the database address only through its environment.
    """
    if is_off(environment):
        return None
    log = workspace.root / "logs" / LOG_FILE
    with place_errors(f"write {log}"):
        log.parent.mkdir(parents=True, exist_ok=True)
    command = [
        *python(),
        "-m",
        "threedrs_workflows.tracking.tracker",
        str(workspace.root),
        run_id,
    ]
    command += ["--parent", str(os.getpid())]
    # In the environment and not among the arguments, which everybody on the machine can read.
    settings = {**QUIET, **environment, "THREEDRS_DATABASE_URL": workspace.database_url}
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=settings,
            start_new_session=True,  # a Ctrl-C that stops the verb must not stop the delivery
        )
    return Tracker(process, workspace)


def deliver_all(workspace: Workspace, environment: Mapping[str, str] = os.environ) -> Delivery:
    """Write what waits in the outbox, in this process."""
    from threedrs_workflows.tracking.evidence import RunEvidence  # not needed to start a run

    return deliver(
        workspace.database,
        workspace.root,
        target_of(workspace, environment),
        RunEvidence(workspace),
    )


def target_of(workspace: Workspace, environment: Mapping[str, str]) -> Target:
    """Where this workspace's runs are tracked."""
    uri = environment.get("MLFLOW_TRACKING_URI")
    return local_target(workspace.root, uri, source_commit())


def source_commit() -> str:
    """The git commit of this source tree; empty if it is none, or git is not there."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def follow(workspace: Workspace, run_id: str, parent: int) -> None:
    """Deliver until the run is over and nothing waits, or the submitting process is gone."""
    told, looks = "", 0
    try_again(workspace.database)
    watch = MachineWatch(target_of(workspace, os.environ), Results(workspace.database), run_id)
    live = LiveCells(workspace.database, workspace.root, target_of(workspace, os.environ), run_id)
    while True:
        is_last = _is_over(workspace.database, run_id) or os.getppid() != parent
        if is_last:
            watch.stop()
            live.close()
        delivery = deliver_all(workspace)
        if not is_last and not delivery.error:
            watch.start()
            live.look()
        if delivery.error and delivery.error != told:
            told = delivery.error
            print(f"{delivery.left} messages wait: {delivery.error}", flush=True)
            payload = {"error": delivery.error, "left": delivery.left}
            workspace.runs.tell(run_id, [Event("tracking.failed", None, payload)])
        looks += is_last
        if is_last and (not delivery.left or looks == LAST_TRIES):
            return
        time.sleep(POLL_S)


def _is_over(database: Database, run_id: str) -> bool:
    """Whether the run has ended; before it starts it counts as interrupted."""
    going = (RunState.RUNNING, RunState.INTERRUPTED)
    return Results(database).find_run(run_id).state not in going


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of the process."""
    parser = argparse.ArgumentParser(
        prog="threedrs_workflows.tracking.tracker", description=__doc__
    )
    parser.add_argument("workspace")
    parser.add_argument("run_id")
    parser.add_argument("--parent", type=int, default=os.getppid())
    chosen = parser.parse_args(arguments)
    for name in ("stdout", "stderr"):  # MLflow and its libraries print where they could not write
        setattr(sys, name, DiscreetStream(getattr(sys, name)))
    os.nice(15)  # steps need the cores more
    with find_workspace(chosen.workspace) as workspace:
        follow(workspace, chosen.run_id, chosen.parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
