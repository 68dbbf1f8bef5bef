"""`workflows cancel`: stop a run, or give up some of its cells."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.database.claims import CellKey
from threedrs_platform.database.run_reader import RunRow
from threedrs_platform.database.runs import WORKERS
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.states import RunState, StepState
from threedrs_platform.steps import Cell
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.cli.elsewhere import stop_ray_job
from threedrs_workflows.cli.output import emit, say
from threedrs_workflows.cli.run_arguments import add_run_and_more, run_and_more
from threedrs_workflows.slurm.jobs import cancel_jobs

SUMMARY = "stop a run, or give up some of its cells"

EXAMPLES = """\
examples:
  workflows cancel                     the newest run
  workflows cancel RUN teacher=mae     one cell (all its seeds); other cells keep what they share
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    add_run_and_more(parser, "cells", "CELL", "*", "id, name or label of a cell; default: all")


def run(args: argparse.Namespace) -> int:
    """Ask the supervisor to cancel; cancel here if there is none."""
    run, cells = run_and_more(args, *args.cells)
    with find_workspace(args.workspace, args.db, with_runs=True) as workspace:
        found = workspace.runs.get(run or "last")
        chosen = find_cells(workspace.runs.cells(found.id), cells) if cells else None
        if found.state not in (RunState.RUNNING, RunState.INTERRUPTED, RunState.PAUSED):
            emit(args, {"run": found.id, "state": found.state}, f"run {found.id} is over already")
            return 0
        workspace.runs.request_cancel(found.id, chosen)
        state: str = "cancelling"
        if chosen is None and (not found.has_live_owner or found.owner == WORKERS):
            # Workers have no spokesman who could end the run; each sees that it has ended.
            _cancel_here(workspace, found)
            state = RunState.CANCELLED
        if chosen is None:  # by whichever it was left to first
            for told in filter(None, (cancel_jobs(found), stop_ray_job(found))):
                say(args, told)
    what = "run " + found.id if chosen is None else f"{len(chosen)} cells of run {found.id}"
    emit(args, {"run": found.id, "state": state, "cells": cells}, f"{what}: {state}")
    return 0


def find_cells(cells: Sequence[Cell], wanted: Sequence[str]) -> list[CellKey]:
    """All seeds of the wanted cells.

    Raises:
        ConfigError: a name fits no cell.
    """
    found: list[CellKey] = []
    faults = []
    for name in wanted:
        fitting = [cell for cell in cells if name in (cell.cell_id, cell.name, cell.label)]
        if not fitting:
            hint = did_you_mean(name, {cell.label or cell.name for cell in cells})
            faults.append(Fault(f"no cell {name!r}{hint}", "CELL"))
        found += [CellKey(cell.cell_id, cell.seed) for cell in fitting]
    if faults:
        raise ConfigError(faults)
    return found


def _cancel_here(workspace: Workspace, run: RunRow) -> None:
    """Nobody works on the run: put its open cells and the steps only it needs to rest."""
    runs, journal, run_id = workspace.runs, workspace.journal, run.id
    idle = runs.step_keys(run_id) - runs.wanted_elsewhere(run_id)
    journal.move(run_id, idle, StepState.CANCELLED, "cancelled")
    states = runs.cell_states(run_id)
    pending = [cell for cell, state in states.items() if state is StepState.PENDING]
    runs.finish_cells(run_id, pending, StepState.CANCELLED, "cancelled")
    runs.finish(run_id, run.owner or journal.owner, RunState.CANCELLED, {})
