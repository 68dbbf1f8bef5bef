"""Where a run goes on without us: in jobs of Slurm, or in a job of a Ray cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from threedrs_platform.compute.clusters import ClusterLost
from threedrs_platform.compute.ray_jobs import RayJobs
from threedrs_platform.database.runs import RunRow
from threedrs_platform.errors import ThreedrsError
from threedrs_workflows.slurm.jobs import SLURM, Jobs, jobs_of

RAY_JOB = "ray_job"
"""The option of a run that names the job which supervises it, and the cluster."""
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


def elsewhere(run: RunRow) -> Jobs | RayJob | None:
    """The jobs to which a run was left, as Slurm or the Ray cluster has them; None: to none."""
    return jobs_of(run) if SLURM in run.options else ray_job_of(run)


def ray_job_of(run: RunRow) -> RayJob | None:
    """The job to which a run was left, None if to none; asked for where nobody works on the run."""
    told = run.options.get(RAY_JOB)
    if not told:
        return None
    return RayJob(**told, state="RUNNING") if run.has_live_owner else look_up(run)


def look_up(run: RunRow) -> RayJob:
    """The job to which a run was left, as its cluster has it."""
    told = run.options[RAY_JOB]
    try:
        return RayJob(**told, state=RayJobs(told["address"], LOOK_S).state(told["job"]) or "")
    except ClusterLost:
        return RayJob(**told, state="", trouble="its cluster cannot be asked")


def stop_ray_job(run: RunRow) -> str:
    """Keep a job that has not begun with its run from doing so; says what came of it."""
    told = run.options.get(RAY_JOB)
    if not told or run.has_live_owner:
        return ""
    try:
        stopped = RayJobs(told["address"], LOOK_S).stop(told["job"])
    except ThreedrsError as error:
        return f"its job {told['job']} at {told['address']} could not be stopped: {error}"
    return f"job {told['job']} is stopped" if stopped else ""


def how_to_resume(run: RunRow) -> str:
    """How to go on with a run as it was begun."""
    job = run.options.get(RAY_JOB)
    how = " --slurm" if SLURM in run.options else f" --ray {job['address']}" if job else ""
    return f"go on with: workflows resume {run.id}{how}"
