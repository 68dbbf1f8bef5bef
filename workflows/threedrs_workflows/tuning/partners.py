"""Which submissions work, or have worked, on the studies of one tuning run."""

from __future__ import annotations

from collections.abc import Collection

from threedrs_platform.database.run_reader import RunRow
from threedrs_platform.workspace import Workspace
from threedrs_workflows.grid.tune_arms import Tuning


def submission_name(grid: str) -> str:
    """What the submissions of a grid's tuning are called."""
    return f"{grid}-tune"


def runs_of(workspace: Workspace, tuning: Tuning) -> list[RunRow]:
    """All of them, oldest first."""
    named = workspace.runs.named(submission_name(tuning.grid))
    return [run for run in named if run.options.get("tune") == tuning.run]


def is_taken(workspace: Workspace, run: RunRow) -> bool:
    """Whether another process works on a run."""
    return run.has_live_owner and run.owner != workspace.journal.owner


def taken_runs(workspace: Workspace, ids: Collection[str]) -> set[str]:
    """Those of some runs that other processes work on."""
    known = [workspace.runs.find(run_id) for run_id in ids if run_id]
    return {run.id for run in known if run is not None and is_taken(workspace, run)}
