"""Slurm's own commands: submit, look into the queue, cancel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from threedrs_platform.errors import ThreedrsError

SUBMIT_TIMEOUT_S = 60.0
LOOK_TIMEOUT_S = 5.0


class SlurmError(ThreedrsError):
    """Slurm did not do what was asked."""

    exit_code = 75


@dataclass(frozen=True)
class QueuedJob:
    """One task of a job array as the queue has it."""

    job: str
    state: str
    """e.g. PENDING, RUNNING, COMPLETING."""
    reason: str

    @property
    def goes_on(self) -> bool:
        """Whether it will do steps without anybody's help: it neither ends nor is held."""
        is_held = any(word in self.reason.lower() for word in ("held", "hold"))
        return self.state in ("RUNNING", "REQUEUED", "CONFIGURING") or (
            self.state == "PENDING" and not is_held
        )


def refuse_missing_slurm() -> None:
    """Tell before a run is recorded that nothing can be submitted from here.

    Raises:
        SlurmError: sbatch is not in the path.
    """
    if shutil.which("sbatch") is None:
        raise SlurmError("sbatch is not here: run this where Slurm's commands are")


def submit(script: Path, environment: Mapping[str, str]) -> str:
    """Hand a script to Slurm; returns the job's id.

    Args:
        environment: of the job, with the addresses of database and store: not in the script, which
            others may read.

    Raises:
        SlurmError: Slurm is not here, or refused the job.
    """
    command = ["sbatch", "--parsable", "--export=ALL", str(script)]
    answer = _call(command, SUBMIT_TIMEOUT_S, {**os.environ, **environment})
    found = re.match(r"(\d+)", answer.strip())
    if found is None:
        raise SlurmError(f"sbatch told no job id: {answer.strip()!r}")
    return found[1]


def queue(name: str, timeout_s: float = LOOK_TIMEOUT_S) -> list[QueuedJob]:
    """Jobs of this name that are waiting or running.

    Raises:
        SlurmError: the queue cannot be seen from here.
    """
    command = ["squeue", "--noheader", "--array", f"--name={name}", "--format=%i|%T|%r"]
    return parse_queue(_call(command, timeout_s))


def parse_queue(text: str) -> list[QueuedJob]:
    """What `squeue --format=%i|%T|%r` prints."""
    rows = [line.strip().split("|", 2) for line in text.splitlines()]
    return [QueuedJob(*row) for row in rows if len(row) == 3]


def counts(jobs: Sequence[QueuedJob]) -> dict[str, int]:
    """How many jobs are in each state of the queue."""
    return dict(sorted(Counter(job.state.lower() for job in jobs).items()))


def cancel(jobs: Sequence[str]) -> None:
    """Cancel jobs; those that have ended are none of scancel's concern.

    Raises:
        SlurmError: Slurm is not here, or refused.
    """
    if jobs:
        _call(["scancel", *jobs], SUBMIT_TIMEOUT_S, may_fail_with="Invalid job id")


def _call(
    command: Sequence[str],
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    may_fail_with: str | None = None,
) -> str:
    name = command[0]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=environment,
        )
    except FileNotFoundError:
        raise SlurmError(f"{name} is not here: run this where Slurm's commands are") from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{name} gave no answer in {timeout_s:g} s; try again later") from None
    if done.returncode != 0 and not (may_fail_with and may_fail_with in done.stderr):
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it failed without a word"]
        raise SlurmError(f"{name}: {lines[-1].removeprefix(f'{name}: ')}")
    return done.stdout
