"""The script of a job array: what it asks Slurm for, and the worker that each of its tasks is."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from threedrs_platform.errors import ConfigError, Fault
from threedrs_workflows.own_command import own_command
from threedrs_workflows.slurm.groups import Group, Needs

MOST_RETURNS = 50
"""After so many returns, preemptions among them, a job that finds nothing to do ends for good."""
IDLE_CPU_S, IDLE_GPU_S = 600, 60
"""How long a job waits for steps of others before it makes room in the queue."""

_STOP_WORKER = '[ -n "$worker" ] && kill -TERM "$worker"'
# srun takes SIGTERM for an order to kill: the processes of its step are told, not it.
_STOP_STEP = 'scancel --signal=TERM "$SLURM_JOB_ID.0"'

# A worker that was stopped (130) or had nothing to do yet (75) goes back into the queue. Not one
# that somebody cancelled: Slurm calls such a job no longer RUNNING.
_BODY = """\
cd {folder} || exit 1
worker=
trap '{stop}' TERM
{command} &
worker=$!
while wait "$worker"; code=$?; kill -0 "$worker" 2>/dev/null; do :; done
again=no
[ "$code" -eq 130 ] && again=yes
[ "$code" -eq 75 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {returns} ] && again=yes
if [ "$again" = yes ] && [ "$(squeue -h -j "$SLURM_JOB_ID" -o %T)" = RUNNING ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


@dataclass(frozen=True)
class Place:
    """Where jobs work."""

    run_id: str
    workspace: Path
    folder: Path
    """In which the run was submitted: paths of a grid are relative to it."""

    @property
    def jobs(self) -> Path:
        """Scripts and logs of the run's jobs."""
        return jobs_folder(self.workspace, self.run_id)


def jobs_folder(workspace: Path, run_id: str) -> Path:
    """Where scripts and logs of a run's jobs are."""
    return workspace / "slurm" / run_id


def job_name(run_id: str) -> str:
    """Under which the queue shows a run's jobs."""
    return f"threedrs-{run_id}"


def script_of(group: Group, place: Place, options: Sequence[str] = ()) -> str:
    """The script for one group of steps.

    Args:
        options: of sbatch, from the command line; they win over those of the grid.

    Raises:
        ConfigError: a path that cannot be written into a script.
    """
    lines = [f"#SBATCH {line}" for line in _directives(group, place, options)]
    body = _BODY.format(
        folder=shlex.quote(str(place.folder)),
        command=shlex.join(_command(group, place)),
        returns=MOST_RETURNS,
        stop=_STOP_STEP if group.needs.nodes > 1 else _STOP_WORKER,
    )
    about = f"# {', '.join(group.kinds)} of run {place.run_id}; written by workflows"
    return "\n".join(["#!/bin/bash", *lines, "", about, body])


def _directives(group: Group, place: Place, options: Sequence[str]) -> Iterator[str]:
    needs, chosen = group.needs, group.settings
    log = str(place.jobs / "%A_%a.log")
    if set(log) & set('"\\\n\r\0') or "%" in str(place.jobs):
        message = f"{place.jobs}: Slurm takes no log file under a path with %, quotes or line ends"
        raise ConfigError([Fault(message, "--workspace")])
    yield f"--job-name={job_name(place.run_id)}"
    yield f"--array=0-{group.jobs - 1}"
    yield f'--output="{log}"' if " " in log else f"--output={log}"
    yield "--open-mode=append"
    yield "--requeue"
    yield f"--signal=B:TERM@{chosen.grace_s}"
    yield f"--nodes={needs.nodes}"
    yield f"--ntasks={needs.nodes}"
    yield "--ntasks-per-node=1"
    yield f"--cpus-per-task={needs.cpus}"
    if needs.memory_gib:
        yield f"--mem={needs.memory_gib}G"
    gres = chosen.gres or (f"gpu:{needs.gpus}" if needs.gpus else "")
    named = {"gres": gres, "partition": chosen.partition, "account": chosen.account}
    named |= {"qos": chosen.qos, "constraint": chosen.constraint, "time": chosen.time}
    for name, value in named.items():
        if value:
            yield f'--{name}="{value}"' if set(value) & set("|&()*") else f"--{name}={value}"
    for option in (*chosen.extra, *options):
        name, equals, value = option.partition("=")
        yield f"{name}={shlex.quote(value)}" if equals else name


def _command(group: Group, place: Place) -> list[str]:
    needs = group.needs
    idle = IDLE_GPU_S if needs.gpus else IDLE_CPU_S
    together = ["--group", f"--min-nodes={needs.nodes}"] if needs.nodes > 1 else []
    worker = own_command(
        "--workspace",
        str(place.workspace),
        "--ray",
        "none",
        "work",
        place.run_id,
        f"--kinds={','.join(group.kinds)}",
        f"--gpus={needs.nodes * needs.gpus}",
        f"--max-idle={idle}",
        *together,
    )
    return [*_on_all_nodes(needs), *worker] if together else worker


def _on_all_nodes(needs: Needs) -> list[str]:
    """One process for each node of a job; if one dies, Slurm ends the others."""
    srun = ["srun", f"--nodes={needs.nodes}", f"--ntasks={needs.nodes}", "--ntasks-per-node=1"]
    # srun does not take this over from the job.
    srun.append(f"--cpus-per-task={needs.cpus}")
    return [*srun, "--kill-on-bad-exit=1", "--input=none", "--label"]
