"""What `submit` and `resume` share about leaving a run to a Ray cluster."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from threedrs_platform.compute.clusters import ClusterLost
from threedrs_platform.compute.ray_jobs import RayJobs, passed_on
from threedrs_platform.database.run_reader import RunRow
from threedrs_platform.errors import ConfigError, Fault, ThreedrsError
from threedrs_platform.states import RunState
from threedrs_platform.workspace import Workspace
from threedrs_workflows.cli.elsewhere import (
    IN_JOB,
    RAY,
    RAY_JOB,
    RayJob,
    leave_to,
    left_to,
    look_up,
)
from threedrs_workflows.cli.output import emit, say
from threedrs_workflows.cli.supervision import chosen_ray
from threedrs_workflows.own_command import PACKAGES, own_command

BEGINS_S, SETTLES_S, POLL_S = 120.0, 3.0, 0.5
"""How long a job may take to begin with its run, and what it has to survive to count as at work."""


def job_server(args: argparse.Namespace) -> RayJobs | None:
    """Where a run is left to, None if this process stays with it; asked before one is recorded.

    Raises:
        ConfigError: --no-wait, and no cluster to leave it to, or one that would show a password.
        ClusterLost: --no-wait, and the cluster takes no jobs.
    """
    if args.slurm or args.wait:
        return None
    if chosen_ray(args) in ("local", "none"):
        if args.no_wait:
            message = "needs a cluster to leave the run to: --ray ADDRESS or --slurm"
            raise ConfigError([Fault(message, "--no-wait")])
        return None
    try:
        _environment_of_job(args)
        return RayJobs(chosen_ray(args))
    except ThreedrsError as error:
        if args.no_wait:
            raise
        say(args, f"this process stays with the run, which ends with it: {error}")
        return None


def leave_to_cluster(
    args: argparse.Namespace, workspace: Workspace, run_id: str, jobs: RayJobs
) -> int:
    """Have the cluster supervise a run; returns once it does.

    Args:
        run_id: of a run that is not over, else its earlier end would pass for the job's work.

    Raises:
        ClusterLost: the job has ended before it was well at work.
    """
    address = chosen_ray(args)
    words = ["resume", run_id, "--ray", "auto", "--workspace", str(workspace.root), "--wait"]
    words += ["--jobs", str(args.jobs)] if args.jobs else []
    words += ["--fail-fast"] if args.fail_fast else []
    words += ["--max-failures", str(args.max_failures)] if args.max_failures else []
    command = own_command(*words)[1:]  # there it is the cluster's Python
    environment = _environment_of_job(args) | {IN_JOB: RAY}
    try:
        job = jobs.supervise(run_id, command, PACKAGES, environment, Path.cwd())
    except ClusterLost as error:
        hint = f"go on with: workflows resume {run_id} --ray {address}"
        raise ClusterLost(f"{error}\n{hint}") from error
    leave_to(workspace, run_id, RAY)
    workspace.runs.set_option(run_id, RAY_JOB, {"job": job, "address": address})
    say(args, f"run {run_id} is left to job {job} at {address}; waiting until it is at work")
    state = _state_once_begun(workspace, run_id, jobs, job, address)
    text = f"run {run_id} is {state} by job {job} at {address}"
    if state == "queued":
        text = f"run {run_id}: job {job} waits for room at {address}"
    text += f"\nfollow it with `workflows wait {run_id}` or `workflows status {run_id} --watch`; "
    text += f"`workflows cancel {run_id}` stops it"
    emit(args, {"run": run_id, "job": job, "address": address, "state": state, "exit": 0}, text)
    return 0


def _state_once_begun(
    workspace: Workspace, run_id: str, jobs: RayJobs, job: str, address: str
) -> str:
    """Wait until a job supervises its run, for it may end at once: `supervised`, or `queued`."""
    end = time.monotonic() + BEGINS_S
    begun: float | None = None
    while True:
        last_words = jobs.ended(job)  # first: what a job that is over has written is there
        row, now = workspace.runs.get(run_id), time.monotonic()
        is_over = row.state not in (RunState.RUNNING, RunState.INTERRUPTED)
        if last_words is not None and is_over:
            return "supervised"  # and done: quick work
        if last_words is not None:
            raise ClusterLost(
                f"job {job} has ended without finishing the run; the workspace {workspace.root} "
                f"and its database must be reachable from the head:\n{last_words}\n"
                f"go on with: workflows resume {run_id} --ray {address}"
            )
        begun = (begun or now) if row.has_live_owner else None
        if begun is not None and now - begun >= SETTLES_S:
            return "supervised"
        if now >= end:
            return "supervised" if is_over else "queued"
        time.sleep(POLL_S)


def attached(args: argparse.Namespace, run: RunRow) -> RayJob | None:
    """The job that supervises a run already, if that is all that is wanted."""
    stays = args.slurm or args.wait or chosen_ray(args) in ("local", "none")
    if stays or left_to(run) != RAY:
        return None
    job = look_up(run)
    return job if job.state == "RUNNING" else None


def _environment_of_job(args: argparse.Namespace) -> dict[str, str]:
    own = {"THREEDRS_DATABASE_URL": args.db} if args.db else {}
    return passed_on({**os.environ, **own})
