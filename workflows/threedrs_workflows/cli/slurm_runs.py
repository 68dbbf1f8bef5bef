"""What `submit`, `resume` and `wait` share about runs whose workers are Slurm jobs."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field

from threedrs_platform.database.run_reader import RunRow
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.states import RunState
from threedrs_platform.workspace import Workspace
from threedrs_workflows.cli.elsewhere import RayJob, elsewhere, how_to_resume, leave_to
from threedrs_workflows.cli.output import emit, say
from threedrs_workflows.cli.supervision import EXIT_CODES, ended_text, interruptible
from threedrs_workflows.plan.plan import Plan
from threedrs_workflows.slurm.commands import refuse_missing_slurm
from threedrs_workflows.slurm.jobs import (
    SLURM,
    Asked,
    Jobs,
    cancel_jobs,
    job_ids,
    read_options,
    submit_jobs,
)
from threedrs_workflows.tracking.tracker import start_tracker

POLL_S = 0.5
QUEUE_POLL_S = 10.0
"""Slurm's controller serves everybody: its queue is looked at less often than our journal."""


def asked_of(args: argparse.Namespace) -> Asked:
    """What the flags say.

    Raises:
        ConfigError: a flag without --slurm, or one that sbatch does not know.
    """
    named = ("slurm_options", "slurm_jobs")
    alone = [name for name in named if getattr(args, name) and not args.slurm]
    if alone:
        flags = [f"--{name.replace('_', '-')}" for name in alone]
        raise ConfigError([Fault("needs --slurm", flag) for flag in flags])
    if args.slurm:
        if args.fail_fast:
            message = "is not for --slurm, whose workers do not know of each other's steps at once"
            raise ConfigError([Fault(f"{message}; --max-failures 1 is", "--fail-fast")])
        refuse_missing_slurm()
    if args.slurm_jobs is not None and args.slurm_jobs < 1:
        raise ConfigError([Fault("expected at least 1", "--slurm-jobs")])
    return Asked(read_options(args.slurm_options), args.slurm_jobs)


def work_on_slurm(
    args: argparse.Namespace, workspace: Workspace, run_id: str, plan: Plan, asked: Asked
) -> int:
    """Submit the jobs of a run and follow it to its end, or return at once."""
    leave_to(workspace, run_id, SLURM)
    run = workspace.runs.get(run_id)
    ids = submit_jobs(workspace, run, plan, asked)
    told = f"Slurm jobs {', '.join(ids)}"
    if not ids:
        ids = list(job_ids(run))
        told = f"no more Slurm jobs: those of {', '.join(ids)} that are queued do what is left"
    say(args, f"run {run_id}: {told}")
    if args.no_wait:
        text = f"run {run_id} is queued; `workflows status {run_id}` and `wait` follow it"
        emit(args, {"run": run_id, "state": "queued", "exit": 0, "slurm": {"jobs": ids}}, text)
        return 0
    tracker = start_tracker(workspace, run_id)
    with interruptible() as stop:
        watch = RunWatch(workspace, run_id)
        while watch.goes_on() and not stop.wait(POLL_S):
            pass
    state = watch.run.state
    if state is RunState.RUNNING:
        code = EXIT_CODES[RunState.INTERRUPTED]
        text = f"run {run_id} goes on in Slurm; `workflows cancel {run_id}` stops it"
        if not stop.is_set():
            text = f"run {run_id}: its Slurm jobs are gone\n{how_to_resume(watch.run)}"
    else:
        code, text = EXIT_CODES[state], ended_text(args, workspace, run_id, state)
        if state in (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED):
            cancel_jobs(watch.run)  # those that still wait in the queue would find nothing to do
        if tracker is not None:
            say(args, tracker.finish() or "MLflow is up to date")
    emit(args, {"run": run_id, "state": state, "exit": code, "slurm": {"jobs": ids}}, text)
    return code


@dataclass
class RunWatch:
    """Looks at a run, and at the queue where only the queue knows whether the run goes on."""

    workspace: Workspace
    run_id: str
    run: RunRow = field(init=False)
    _jobs: Jobs | RayJob | None = None
    _look_again: float = 0.0

    def goes_on(self) -> bool:
        """Whether somebody works on the run, or a job of it waits to."""
        self.run = self.workspace.runs.get(self.run_id)
        if self.run.state is not RunState.RUNNING:
            return False
        if self.run.has_live_owner:
            return True
        if time.monotonic() >= self._look_again:
            self._jobs = elsewhere(self.run)
            self._look_again = time.monotonic() + QUEUE_POLL_S
        return self._jobs is not None and self._jobs.may_work
