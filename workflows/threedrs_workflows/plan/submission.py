"""From cells to a recorded run: plan, narrow, write down. What the command line calls."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.database.acceptances import known_code, remember_code
from threedrs_platform.database.runs import Submission
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.steps import Cell
from threedrs_platform.workspace import Workspace
from threedrs_workflows.plan.plan import Plan, make_plan


def plan_cells(workspace: Workspace, cells: Sequence[Cell], refresh: Collection[str] = ()) -> Plan:
    """Plan cells against a workspace, remembering what was computed about the source files."""
    plan = make_plan(cells, workspace.journal, workspace.store, refresh, workspace.code)
    workspace.code.save()
    return plan


def record(workspace: Workspace, submission: Submission, plan: Plan) -> str:
    """Write a plan down as a run; returns the run's id.

    Raises:
        ConfigError: the database keeps its artifacts in another store.
    """
    workspace.claim_store()
    _remember_code(workspace, plan)
    return workspace.runs.submit(submission, plan.cells, plan.links, plan.entries())


def replan(workspace: Workspace, run_id: str, leave: Collection[str] = ()) -> Plan:
    """Plan a run's cells again, with what is done by now and with today's code.

    Args:
        leave: keys of failed steps that stay failed.

    Raises:
        ConfigError: it is a tuning run, whose cells depend on what came of others.
    """
    tuned = workspace.runs.get(run_id).options.get("tune")
    if tuned:
        file = workspace.runs.get(run_id).grid_file
        message = f"run {run_id} is tuning {tuned}; go on with: workflows tune {file}"
        raise ConfigError([Fault(message)])
    plan = plan_cells(workspace, workspace.runs.cells(run_id))
    entries = [
        replace(entry, to_run=entry.to_run and entry.key not in leave) for entry in plan.entries()
    ]
    _remember_code(workspace, plan)
    workspace.runs.replan(run_id, plan.links, entries)
    workspace.runs.pause(run_id, False)
    return plan


def plan_recorded(workspace: Workspace, run_id: str) -> Plan:
    """A run's plan as it was recorded last, with what is done by now; changes nothing.

    Raises:
        ConfigError: the code here would make other steps of the run's cells, or it is a tuning run.
    """
    if tuned := workspace.runs.get(run_id).options.get("tune"):
        raise ConfigError([Fault(f"run {run_id} is tuning {tuned}; workers cannot share that")])
    plan = plan_cells(workspace, workspace.runs.cells(run_id))
    recorded = workspace.runs.step_keys(run_id)
    if other := sorted({step.spec.kind for step in plan.steps if step.key not in recorded}):
        message = (
            f"steps of run {run_id} were planned with other code than there is here: "
            f"{', '.join(other)}; `workflows resume {run_id}` plans them anew"
        )
        raise ConfigError([Fault(message)])
    return plan


def extend(workspace: Workspace, run_id: str, plan: Plan) -> None:
    """Add the cells of a plan to a run that goes on."""
    _remember_code(workspace, plan)
    workspace.runs.extend(run_id, plan.cells, plan.links, plan.entries())


def _remember_code(workspace: Workspace, plan: Plan) -> None:
    """Keep what the code of new steps is made of, so that a later plan can name what changed."""
    steps = {step.recipe.code: step.spec for step in plan.steps}
    new = steps.keys() - known_code(workspace.database, steps)
    if new:
        versions = {
            digest: workspace.code.details(steps[digest].entry, steps[digest].modules)
            for digest in new
        }
        remember_code(workspace.database, versions)


def until(cells: Sequence[Cell], kind: str, flag: str = "--until") -> list[Cell]:
    """The cells with their steps of one kind only; what those read from stays.

    Raises:
        ConfigError: no cell has a step of this kind.
    """
    kinds = sorted({spec.kind for cell in cells for spec in cell.steps.values()})
    if kind not in kinds:
        raise ConfigError([Fault(f"no step of kind {kind!r}{did_you_mean(kind, kinds)}", flag)])
    narrowed = []
    for cell in cells:
        steps = {role: spec for role, spec in cell.steps.items() if spec.kind == kind}
        if steps:
            narrowed.append(replace(cell, steps=steps))
    return narrowed


def refuse_other_kinds(plan: Plan, kind: str) -> None:
    """For `--only`: everything that the steps of this kind read from must be done.

    Raises:
        ConfigError: names what is missing.
    """
    missing = sorted({step.spec.kind for step in plan.misses if step.spec.kind != kind})
    if missing:
        message = (
            f"{kind} reads from steps that are not done: {', '.join(missing)}; "
            f"`--until {kind}` runs them too"
        )
        raise ConfigError([Fault(message, "--only")])
