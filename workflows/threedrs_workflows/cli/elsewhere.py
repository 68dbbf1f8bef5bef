"""Where a run goes on without us: in jobs of Slurm, or in a job of a Ray cluster."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from threedrs_platform.compute.clusters import ClusterLost
from threedrs_platform.compute.ray_jobs import RayJobs
from threedrs_platform.database.run_reader import RunRow
from threedrs_platform.errors import ThreedrsError
from threedrs_platform.workspace import Workspace
from threedrs_workflows.slurm.jobs import SLURM, Jobs, jobs_of

LEFT_TO = "left_to"
"""The option of a run that says whose jobs it was left to last: `RAY`, `SLURM`, or "": nobody's."""
RAY = "ray"
RAY_JOB = "ray_job"
"""The option of a run that names the last job which was to supervise it, and the cluster."""
IN_JOB = "THREEDRS_IN_JOB"
"""A variable that only such a job has: what it works on stays left to it."""
LOOK_S = 5.0
"""How long a look at a job may take."""


@dataclass(frozen=True)
class RayJob:
    """The job that supervises a run, as its cluster has it."""

    job: str
    address: str
    state: str
    """As Ray calls it; empty where the cluster does not know of it, or cannot be asked."""
    trouble: str = ""
    """Why the cluster could not be asked."""

    @property
    def may_work(self) -> bool:
        """Whether it works or will, as far as anyone can tell from here."""
        return self.state in ("PENDING", "RUNNING") or bool(self.trouble)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {**vars(self), "trouble": self.trouble or None}

    def text(self) -> str:
        """For people, in one line."""
        return f"job {self.job} at {self.address}: {self.trouble or self.state.lower() or 'gone'}"


def left_to(run: RunRow) -> str:
    """Whose jobs a run was left to last: `RAY`, `SLURM`, or "": nobody's."""
    before = SLURM if SLURM in run.options else RAY if run.options.get(RAY_JOB) else ""
    return str(run.options.get(LEFT_TO, before))


def leave_to(workspace: Workspace, run_id: str, whom: str) -> None:
    """Remember whose jobs go on with a run: `RAY`, `SLURM`, or "": this process stays with it."""
    if IN_JOB not in os.environ:
        workspace.runs.set_option(run_id, LEFT_TO, whom)


def elsewhere(run: RunRow) -> Jobs | RayJob | None:
    """The jobs to which a run is left, as Slurm or the Ray cluster has them; None: to none.

    A Ray cluster is asked only where nobody works on the run.
    """
    whom = left_to(run)
    if whom == RAY and run.has_live_owner:
        return RayJob(**run.options[RAY_JOB], state="RUNNING")
    return jobs_of(run) if whom == SLURM else look_up(run) if whom == RAY else None


def look_up(run: RunRow) -> RayJob:
    """The job to which a run was left, as its cluster has it."""
    told = run.options[RAY_JOB]
    try:
        return RayJob(**told, state=RayJobs(told["address"], LOOK_S).state(told["job"]) or "")
    except ClusterLost:
        return RayJob(**told, state="", trouble="its cluster cannot be asked")


def stop_ray_job(run: RunRow) -> str:
    """Keep a job that has not begun with its run from doing so; says what came of it.

    One that has begun hears from the journal that its run is cancelled.
    """
    told = run.options.get(RAY_JOB)
    if not told or (left_to(run) == RAY and run.has_live_owner):
        return ""
    try:
        stopped = RayJobs(told["address"], LOOK_S).stop(told["job"])
    except ThreedrsError as error:
        return f"its job {told['job']} at {told['address']} could not be stopped: {error}"
    return f"job {told['job']} is stopped" if stopped else ""


def how_to_resume(run: RunRow) -> str:
    """How to go on with a run as it was begun."""
    whom = left_to(run)
    how = " --slurm" if whom == SLURM else ""
    if whom == RAY:
        how = f" --ray {run.options[RAY_JOB]['address']}"
    return f"go on with: workflows resume {run.id}{how}"
