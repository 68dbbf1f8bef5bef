"""`workflows status`: how far a run is, what failed and why, when it may end."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from typing import Any

from threedrs_platform.database.connection import Database
from threedrs_platform.database.progress import FailedStep, RunningStep, RunProgress, run_progress
from threedrs_platform.database.results import Results
from threedrs_platform.states import RunState, StepState
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.cli.elsewhere import RAY, RayJob, elsewhere, how_to_resume, left_to
from threedrs_workflows.cli.output import columns, duration, emit
from threedrs_workflows.cli.run_arguments import add_run_argument
from threedrs_workflows.slurm.jobs import Jobs

SUMMARY = "how far a run is: counts, time left, failing cells with their cause"

EXAMPLES = """\
examples:
  workflows status                  the newest run
  workflows status ablations        the newest run of this grid
  workflows status --watch          look again every two seconds until it ends
  workflows status --list           all runs
"""

WATCH_S = 2.0
SLURM_WATCH_S = 10.0
"""Where each look asks Slurm's controller, too."""
QUEUED = "queued"
Elsewhere = Jobs | RayJob | None
"""Where others work on a run."""
MOST_SHOWN = 8
"""Failed steps that are listed; the rest is counted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    add_run_argument(parser)
    parser.add_argument("--watch", action="store_true", help="until the run ends")
    parser.add_argument("--list", action="store_true", help="all runs, newest first")


def run(args: argparse.Namespace) -> int:
    """Print the status."""
    with find_workspace(args.workspace, args.db, with_runs=True) as workspace:
        if args.list:
            return _list(args, workspace.database)
        run_id = Results(workspace.database).find_run(args.run).run_id
        look, jobs = _look(workspace, run_id)
        while args.watch and state_of(look, jobs) in (RunState.RUNNING, QUEUED):
            if not args.json:
                clear = "\x1b[2J\x1b[H" if sys.stdout.isatty() else ""
                print(clear + status_text(look, jobs), flush=True)
            time.sleep(WATCH_S if jobs is None else SLURM_WATCH_S)
            look, jobs = _look(workspace, run_id)
        emit(args, status_content(look, jobs), status_text(look, jobs))
    return 0


def _look(workspace: Workspace, run_id: str) -> tuple[RunProgress, Elsewhere]:
    look = run_progress(workspace.database, run_id, workspace.root)
    is_over = look.run.state is not RunState.RUNNING
    return look, None if is_over and left_to(look.run) == RAY else elsewhere(look.run)


def _list(args: argparse.Namespace, database: Database) -> int:
    runs = Results(database).run_summaries()
    rows = [("RUN", "STATE", "STARTED")]
    rows += [(run.run_id, str(run.state), _clock(run.created_at)) for run in runs]
    content = [{"run": r.run_id, "state": str(r.state), "created_at": r.created_at} for r in runs]
    emit(args, {"runs": content}, columns(rows) if runs else "no run yet")
    return 0


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def status_content(look: RunProgress, jobs: Elsewhere = None) -> dict[str, Any]:
    """The status as JSON."""
    return {
        "run": look.run.id,
        "name": look.run.name,
        "state": state_of(look, jobs),
        "created_at": look.run.created_at,
        "finished_at": look.run.finished_at,
        "cells": _named(look.cells),
        "steps": _named(look.steps),
        "cached": look.cached,
        "eta_s": look.eta_s,
        "silent_s": look.silent_s,
        "running": [_running_content(step) for step in look.running],
        "stopped": [_running_content(step) for step in look.stopped],
        "failed": [_failed_content(step) for step in look.failed],
        "untracked": look.untracked,
        "slurm": jobs.as_json() if isinstance(jobs, Jobs) else None,
        "ray_job": jobs.as_json() if isinstance(jobs, RayJob) else None,
    }


def state_of(look: RunProgress, jobs: Elsewhere = None) -> str:
    """The run's state; "interrupted" also where its supervisor died without a word, "queued" where
    its workers wait in Slurm's queue."""
    if look.run.state is RunState.RUNNING and not look.run.has_live_owner:
        if jobs is not None and jobs.may_work:
            return QUEUED
        return str(RunState.INTERRUPTED)
    return str(look.run.state)


def _named(counts: Mapping[StepState, int]) -> dict[str, int]:
    return {str(state): counts[state] for state in StepState if counts.get(state)}


def _running_content(step: RunningStep) -> dict[str, Any]:
    progress = step.progress
    return {
        "key": step.key,
        "kind": step.kind,
        "label": step.label,
        "cells": list(step.cells),
        "attempt": step.attempt,
        "elapsed_s": step.elapsed_s,
        "done": progress.done,
        "total": progress.total,
        "note": progress.note,
    }


def _failed_content(step: FailedStep) -> dict[str, Any]:
    return {**vars(step), "cells": list(step.cells)}


def status_text(look: RunProgress, jobs: Elsewhere = None) -> str:
    """The status for people."""
    state = state_of(look, jobs)
    when = _last_seen(look) if state == RunState.INTERRUPTED else _when(look)
    lines = [f"{look.run.id}: {state}{when}", *_counts(look)]
    if jobs is not None:
        lines.append(f"  {jobs.text()}")
    if look.running:
        lines += ["running", columns([_running_row(step) for step in look.running])]
    if look.stopped:
        lines += [
            "begun and unfinished; a resume goes on from what is kept",
            *map(_stopped_line, look.stopped),
        ]
    if look.failed:
        lines += ["failed", *map(_failed_line, look.failed[:MOST_SHOWN])]
        if len(look.failed) > MOST_SHOWN:
            lines.append(f"  and {len(look.failed) - MOST_SHOWN} more; --json lists them all")
    return "\n".join([*lines, *_advice(look, state)])


def _when(look: RunProgress) -> str:
    if look.elapsed_s is None:
        return " (the clock was set back meanwhile: nobody knows after how long)"
    if look.run.finished_at is not None:
        return f" after {duration(look.elapsed_s)}"
    eta = f", about {duration(look.eta_s)} left" if look.eta_s is not None else ""
    return f" for {duration(look.elapsed_s)}{eta}"


def _last_seen(look: RunProgress) -> str:
    """When a run was worked on last; that its supervisor died is in no row."""
    if look.elapsed_s is None or look.silent_s is None or look.run.finished_at is not None:
        return _when(look)
    worked = max(0.0, look.elapsed_s - look.silent_s)
    return f" {duration(look.silent_s)} ago, after {duration(worked)}"


def _counts(look: RunProgress) -> list[str]:
    done = look.steps.get(StepState.SUCCEEDED, 0)
    others = _listed(look.steps)
    steps = f"steps: {done} of {sum(look.steps.values())} done ({look.cached} cached)"
    cells = f"cells: {look.cells.get(StepState.SUCCEEDED, 0)} of {sum(look.cells.values())} done"
    return [f"  {steps}{others}", f"  {cells}{_listed(look.cells)}"]


def _listed(counts: Mapping[StepState, int]) -> str:
    parts = [f", {n} {s}" for s, n in _named(counts).items() if s != StepState.SUCCEEDED]
    return "".join(parts)


def _running_row(step: RunningStep) -> tuple[str, ...]:
    progress = step.progress
    share = f"{progress.done}/{progress.total}" if progress.total else ""
    return (
        _step_name(step.kind, step.label),
        _cells(step.cells),
        share,
        duration(step.elapsed_s),
        progress.note or step.note,
    )


def _stopped_line(step: RunningStep) -> str:
    progress = step.progress
    at = f": at {progress.done} of {progress.total}" if progress.total else ""
    note = f"{', ' if at else ': '}{progress.note}" if progress.note else ""
    told = f"{at}{note}" or ": stopped before it said how far it was"
    return f"  {_step_name(step.kind, step.label)} of {_cells(step.cells)}{told}"


def _failed_line(step: FailedStep) -> str:
    tries = f" after {step.attempts} attempts" if step.attempts > 1 else ""
    cause = step.message.splitlines()[0] if step.message else "no message"
    name = _step_name(step.kind, step.label)
    return f"  {name} of {_cells(step.cells)} ({step.failure}{tries}): {cause}"


def _step_name(kind: str, label: str) -> str:
    return f"{kind} {label}" if label else kind


def _cells(titles: tuple[str, ...]) -> str:
    return titles[0] if len(titles) == 1 else f"{len(titles)} cells"


def _advice(look: RunProgress, state: str) -> list[str]:
    lines = []
    if state == RunState.PAUSED and not look.run.options.get("pause"):
        lines.append(f"its budget is spent: workflows resume {look.run.id} --budget GPU_HOURS")
    elif state in (RunState.INTERRUPTED, RunState.PAUSED):
        lines.append(how_to_resume(look.run))
    if look.failed:
        lines.append(f"see a log with: workflows logs {look.run.id} {look.failed[0].key[:12]}")
    if look.untracked and (look.run.finished_at is not None or look.untracked_because):
        lines.append(f"MLflow lags behind by {look.untracked} messages; nothing is lost")
        if look.untracked_because:
            again = f"`workflows resume {look.run.id}` tries again"
            lines.append(f"  {look.untracked_because}; {again}")
    return lines
