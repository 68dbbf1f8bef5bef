"""From cells to a finished run: plan, record, supervise. What the command line calls."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from threedrs_platform.runs import Submission
from threedrs_platform.states import RunState
from threedrs_platform.steps import Cell
from threedrs_platform.workspace import Workspace
from threedrs_workflows.plan import Plan, make_plan
from threedrs_workflows.supervisor import Supervisor


@dataclass(frozen=True)
class Finished:
    """A run that came to an end."""

    run_id: str
    state: RunState
    plan: Plan


def plan_cells(workspace: Workspace, cells: Sequence[Cell], refresh: Collection[str] = ()) -> Plan:
    """Plan cells against a workspace, remembering what was computed about the source files."""
    plan = make_plan(cells, workspace.journal, workspace.store, refresh, workspace.code)
    workspace.code.save()
    return plan


def submit(
    workspace: Workspace, submission: Submission, plan: Plan, supervisor: Supervisor
) -> Finished:
    """Record a plan as a run and work on it."""
    run_id = workspace.runs.submit(submission, plan.cells, plan.links, plan.entries())
    return Finished(run_id, supervisor.run(run_id, plan), plan)


def resume(workspace: Workspace, run_id: str, supervisor: Supervisor) -> Finished:
    """Plan a run's cells again, with what is done by now, and work on what is left."""
    run = workspace.runs.get(run_id)
    plan = plan_cells(workspace, workspace.runs.cells(run.id))
    workspace.runs.replan(run.id, plan.links, plan.entries())
    return Finished(run.id, supervisor.run(run.id, plan), plan)
