"""The Slurm jobs of a run: written, submitted, remembered with the run, looked after."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threedrs_platform.database.run_reader import RunRow
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.storage import place_errors
from threedrs_platform.workspace import Workspace
from threedrs_workflows.grid.slurm_section import SlurmSettings, check_option
from threedrs_workflows.plan.plan import Plan
from threedrs_workflows.slurm import commands
from threedrs_workflows.slurm.groups import Group, groups_of
from threedrs_workflows.slurm.scripts import Place, job_name, script_of

SLURM = "slurm"
"""The option of a run under which its jobs are kept."""
SLURM_STEPS = "slurm_steps"
"""The option of a run with the grid's settings by kind of step."""


@dataclass(frozen=True)
class Asked:
    """What the command line says of the jobs."""

    options: tuple[str, ...] = ()
    most_jobs: int | None = None


@dataclass(frozen=True)
class Jobs:
    """A run's jobs as the queue has them."""

    ids: tuple[str, ...]
    queued: tuple[commands.QueuedJob, ...]
    trouble: str = ""
    """Why the queue could not be seen."""

    @property
    def may_work(self) -> bool:
        """Whether some job works or will, as far as anyone can tell from here."""
        return bool(self.queued) or (bool(self.ids) and bool(self.trouble))

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        queued = [vars(each) for each in self.queued]
        return {"jobs": list(self.ids), "queue": queued, "trouble": self.trouble or None}

    def text(self) -> str:
        """For people, in one line."""
        ids = ", ".join(self.ids)
        if self.trouble:
            return f"slurm jobs {ids}: {self.trouble}"
        if not self.queued:
            return f"slurm jobs {ids}: none in the queue"
        states = ", ".join(f"{n} {state}" for state, n in commands.counts(self.queued).items())
        reasons = {each.reason for each in self.queued if each.state == "PENDING"} - {"None", ""}
        return f"slurm jobs {ids}: {states}" + (
            f" ({', '.join(sorted(reasons))})" if reasons else ""
        )


def read_options(text: str | None) -> tuple[str, ...]:
    """What `--slurm-options` holds, as single options.

    Raises:
        ConfigError: one of them is no option of sbatch, or set by us.
    """
    try:
        options = tuple(shlex.split(text or ""))
        for option in options:
            check_option(option)
    except ValueError as error:
        raise ConfigError([Fault(str(error), "--slurm-options")]) from None
    return options


def submit_jobs(workspace: Workspace, run: RunRow, plan: Plan, asked: Asked) -> list[str]:
    """Write and submit a job array for each group of steps that are left; returns the jobs' ids.

    Groups for which an earlier array of the run still has jobs in the queue get no more, unless the
    command line asks for other jobs.

    Raises:
        SlurmError: Slurm refused one; those before it are submitted and remembered.
    """
    told: Mapping[str, Any] = run.options.get(SLURM_STEPS) or {}
    settings = {kind: SlurmSettings.model_validate(each) for kind, each in told.items()}
    queued = _queued(run) if asked == Asked() else set()
    groups = [
        group
        for group in groups_of((step.spec for step in plan.misses), settings, asked.most_jobs)
        if not queued.issuperset((kind, group.needs.nodes) for kind in group.kinds)
    ]
    place = Place(run.id, workspace.root, Path.cwd())
    kept = list(_kept(run))
    workspace.runs.set_option(run.id, SLURM, kept)  # even if Slurm refuses the first array
    scripts = [_write(place, group, len(kept) + n, asked) for n, group in enumerate(groups)]
    addresses = {"THREEDRS_DATABASE_URL": workspace.database_url}
    addresses |= {"THREEDRS_ARTIFACTS": workspace.artifacts_url}
    ids = []
    for group, script in zip(groups, scripts, strict=True):
        try:
            job = commands.submit(script, {name: url for name, url in addresses.items() if url})
        except commands.SlurmError as error:
            fault = f"the jobs for {', '.join(group.kinds)} were not submitted: {error}"
            raise commands.SlurmError(f"{fault}\nsee {script}; {_hint(run.id)}") from None
        ids.append(job)
        what = {"kinds": list(group.kinds), "nodes": group.needs.nodes, "jobs": group.jobs}
        kept.append({"job": job, **what, "script": str(script)})
        workspace.runs.set_option(run.id, SLURM, kept)
    return ids


def _queued(run: RunRow) -> set[tuple[str, int]]:
    """Kinds of steps, each with its number of nodes, for which jobs of a run wait or work."""
    jobs = jobs_of(run)
    going = [each for each in jobs.queued if each.goes_on] if jobs is not None else []
    arrays = {each.job.partition("_")[0] for each in going}
    return {
        (kind, each.get("nodes", 1))
        for each in _kept(run)
        if str(each["job"]) in arrays
        for kind in each["kinds"]
    }


def _hint(run_id: str) -> str:
    return f"go on with: workflows resume {run_id} --slurm"


def _write(place: Place, group: Group, number: int, asked: Asked) -> Path:
    file = place.jobs / f"{number:02d}-{group.name}.sbatch"
    text = script_of(group, place, asked.options)
    with place_errors(f"write {file}"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return file


def _kept(run: RunRow) -> Sequence[Mapping[str, Any]]:
    return run.options.get(SLURM) or ()


def job_ids(run: RunRow) -> tuple[str, ...]:
    """Ids of all jobs of a run, also of those that have ended."""
    return tuple(str(each["job"]) for each in _kept(run))


def jobs_of(run: RunRow) -> Jobs | None:
    """A run's jobs and their place in the queue; None if it has none."""
    ids = job_ids(run)
    if not ids:
        return None
    try:
        queued = tuple(commands.queue(job_name(run.id)))
    except commands.SlurmError as error:
        return Jobs(ids, (), str(error))
    return Jobs(ids, queued)


def cancel_jobs(run: RunRow) -> str:
    """Cancel a run's jobs; says what came of it, nothing if it has none."""
    ids = job_ids(run)
    if not ids:
        return ""
    try:
        commands.cancel(ids)
    except commands.SlurmError as error:
        return f"its Slurm jobs {', '.join(ids)} could not be cancelled: {error}"
    return f"Slurm jobs {', '.join(ids)} are cancelled"
