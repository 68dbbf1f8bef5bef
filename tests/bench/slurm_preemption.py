"""A grid of 12 cells on Slurm, half of its jobs preempted, beside the same grid in one process.

    python tests/bench/slurm_preemption.py [--jobs 6] [--stand-in]

Starts a Slurm of one node in a temporary folder (apt-get install slurm-wlm munge; root), or with
--stand-in the stand-in of its commands. Half of the jobs are stopped while they work, in turn by
SIGTERM to the job, as before a time limit, and by `scontrol requeue`, as a preemption does it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import select

from threedrs_platform.database import schema
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.slurm.commands import QueuedJob, parse_queue
from threedrs_workflows.testing import slurm_stand_in
from threedrs_workflows.testing.local_slurm import local_slurm, why_not

ROOT = Path(__file__).resolve().parents[2]
GRID = ROOT / "ablations.yaml"
CHOICE = ["--smoke", "--set", "training.learning_rate=0.001,0.002"]
"""Six cells in their smallest sizes, under two learning rates."""
PAUSE_S = 6.0
PATIENCE_S = 1800.0


def workflows(folder: Path, *words: str) -> subprocess.Popen[str]:
    """A verb in a process of its own, on a workspace in a folder."""
    command = "import sys; from threedrs_workflows.cli import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", command, "--workspace", str(folder / "workspace"), *words],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "told").open("a"),
        text=True,
    )


def run(*words: str) -> str:
    """What a command of Slurm prints."""
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def queued() -> list[QueuedJob]:
    """All jobs that wait or run."""
    return parse_queue(run("squeue", "--noheader", "--array", "--format=%i|%T|%r"))


def preempt(wanted: int, run_over: Callable[[], bool], stand_in: bool) -> dict[str, str]:
    """Stop that many different jobs while they work; how, by job."""
    done: dict[str, str] = {}
    while len(done) < wanted and not run_over():
        time.sleep(PAUSE_S)
        victims = [job.job for job in queued() if job.state == "RUNNING" and job.job not in done]
        if victims:
            how = ("SIGTERM", "requeue")[len(done) % 2]
            job = victims[len(victims) // 2]
            if how == "SIGTERM":
                run("scancel", "--batch", "--signal=TERM", job)
            else:
                run("scontrol", "requeue", job)
            done[job] = how
            print(f"  {job} preempted by {how}", flush=True)
        hurry(stand_in)
    return done


def hurry(stand_in: bool) -> None:
    """Let jobs that were put back start at once: Slurm has them wait for two minutes."""
    for job in queued() if not stand_in else ():
        if job.state == "PENDING" and job.reason == "BeginTime":
            run("scontrol", "update", f"JobId={job.job}", "StartTime=now")


def told(folder: Path) -> dict[str, Any]:
    """What the journal of a workspace says of its only run."""
    metrics, steps, attempts = schema.metrics, schema.steps, schema.attempts
    with find_workspace(str(folder / "workspace"), environment={}) as workspace:
        found = workspace.runs.get("last")
        with workspace.database.read() as connection:
            numbers = select(metrics.c.step_key, metrics.c.name, metrics.c.value)
            values = {
                (row.step_key, row.name): row.value
                for row in connection.execute(numbers.where(metrics.c.unit != "s"))
            }
            states = Counter(connection.scalars(select(attempts.c.state)))
            commits = Counter(
                connection.scalars(
                    select(attempts.c.step_key).where(attempts.c.state == "committed")
                )
            )
            done = list(connection.scalars(select(steps.c.key).where(steps.c.state == "succeeded")))
    return {
        "state": found.state,
        "cells": len(workspace.runs.cells(found.id)),
        "values": values,
        "attempts": states,
        "twice": sum(count > 1 for count in commits.values()),
        "steps": len(done),
    }


def main() -> int:
    """Print the table; 1 unless the two runs agree."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--stand-in", action="store_true")
    args = parser.parse_args()
    if not args.stand_in and (why := why_not()):
        print(f"no Slurm: {why}; --stand-in does without")
        return 2
    rooms = ("platform", "components", "workflows", "dashboards")
    os.environ["PYTHONPATH"] = os.pathsep.join(str(ROOT / room) for room in rooms)
    os.environ |= {"THREEDRS_TRACKING": "off", "OMP_NUM_THREADS": "1"}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
        plain, shared = folder / "plain", folder / "shared"
        for each in (plain, shared):
            each.mkdir()
        if args.stand_in:
            slurm_stand_in.install(folder / "slurm", os.environ)
        else:
            os.environ["SLURM_CONF"] = str(stack.enter_context(local_slurm(folder / "slurm", 3)))
        began = time.monotonic()
        alone = workflows(plain, "submit", str(GRID), *CHOICE, "--ray", "none")
        follower = workflows(
            shared, "submit", str(GRID), *CHOICE, "--slurm", f"--slurm-jobs={args.jobs}"
        )

        def over() -> bool:
            return follower.poll() is not None

        preempted = preempt(args.jobs // 2, over, args.stand_in)
        while not over() and time.monotonic() - began < PATIENCE_S:
            hurry(args.stand_in)
            time.sleep(1)
        took_s = time.monotonic() - began
        print(f"on Slurm: exit {follower.poll()} after {took_s:.0f} s", flush=True)
        print(f"in one process: exit {alone.wait(PATIENCE_S)}", flush=True)
        one, other = told(plain), told(shared)
        equal = one["values"] == other["values"]
        print("\n| run | state | cells | steps | attempts | committed twice | jobs preempted |")
        print("|---|---|---|---|---|---|---|")
        for name, found, stopped in (
            ("plain", one, "-"),
            ("Slurm", other, f"{len(preempted)} of {args.jobs}"),
        ):
            tries = ", ".join(f"{n} {state}" for state, n in sorted(found["attempts"].items()))
            cells = f"{found['cells']} | {found['steps']} | {tries} | {found['twice']}"
            print(f"| {name} | {found['state']} | {cells} | {stopped} |")
        print(f"\n{len(one['values'])} numbers, tables equal: {'yes' if equal else 'NO'}")
        if not equal:
            print((shared / "told").read_text()[-3000:])
    fine = equal and not other["twice"] and len(preempted) == args.jobs // 2
    return 0 if fine and one["values"] else 1


if __name__ == "__main__":
    sys.exit(main())
