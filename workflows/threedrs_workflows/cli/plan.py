"""`workflows plan`: what a submission would do, step by step, without doing any of it."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import ConfigError, Fault
from threedrs_workflows.cli.grid_arguments import add_grid_arguments, grid_of
from threedrs_workflows.cli.hashing import bound_for_plans, show_hashing, unhashed_text
from threedrs_workflows.cli.output import columns, duration, emit, say_absence
from threedrs_workflows.cli.plan_costs import (
    add_cost_arguments,
    assumptions_of,
    cost_content,
    cost_text,
)
from threedrs_workflows.cli.plan_power import add_power_arguments, power_of, power_text
from threedrs_workflows.cli.validate import cell_content, cell_table, grid_content
from threedrs_workflows.grid.cells import GridCell, GridCells, expand, load_cells
from threedrs_workflows.grid.diff import GridDiff, diff_grids

if TYPE_CHECKING:
    from threedrs_workflows.plan.plan import Plan, PlannedStep

SUMMARY = "what a submission would run, what is done already, and why"

EXAMPLES = """\
examples:
  workflows plan ablations.yaml
  workflows plan ablations.yaml --steps                every single step
  workflows plan ablations.yaml --explain finetune@baseline
  workflows plan ablations.yaml --diff old.yaml        cells that came and went; a run's id, too
  workflows plan ablations.yaml --check                exit 10 if there is work to do
  workflows plan ablations.yaml --power 0.5            seeds that would show half a point
  workflows plan ablations.yaml --utilisation 0.45 --peak-tflops 312

A step is a hit when a result exists for the same code, parameters and inputs. "cells" counts the
cells and seeds that share a step. Data and weights that are not here are named: a plan does without
them, a submission does not. Times come from earlier steps of the same sizes; where there are none,
GPU-hours are estimated from sizes and settings.
"""

WORK_TO_DO = 10
LINE, LEAST_WHY = 100, 30
"""Columns of a line of the plan, and those that a reason has at least."""
CHANGE = re.compile(r"^parameter (.+?) changed: ")
AND_MORE = re.compile(r"and (\d+) more")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    add_grid_arguments(parser)
    parser.add_argument(
        "--refresh",
        metavar="STEP[@CELL]",
        action="append",
        default=[],
        help="plan as if these results did not exist; may be repeated",
    )
    parser.add_argument("--steps", action="store_true", help="list every step on its own")
    parser.add_argument(
        "--diff", metavar="FILE|RUN", help="cells that came and went since a grid file or a run"
    )
    add_cost_arguments(parser)
    add_power_arguments(parser)
    hashing = parser.add_mutually_exclusive_group()
    hashing.add_argument(
        "--hash", action="store_true", help="read data that nobody has read yet, however large"
    )
    hashing.add_argument(
        "--rehash", action="store_true", help="read all data again, unchanged in size and time too"
    )
    parser.add_argument("--explain", metavar="STEP@CELL", help="what a step's identity is made of")
    parser.add_argument(
        "--check", action="store_true", help=f"exit {WORK_TO_DO} if a step would run"
    )


def run(args: argparse.Namespace) -> int:
    """Print the plan."""
    grid = grid_of(args)
    if args.diff is not None:
        return _diff(args, grid)
    from threedrs_platform.workspace import find_workspace
    from threedrs_workflows.plan.binding import bind_cells, data_sources
    from threedrs_workflows.plan.costs import plan_cost
    from threedrs_workflows.plan.submission import plan_cells

    # What was read of large data is remembered in the workspace: to ask for that is to want it.
    looks = not (args.hash or args.rehash)
    with find_workspace(args.workspace, args.db, looks=looks) as workspace:
        say_absence(args, workspace)
        show_hashing(args, workspace.files)
        bound_for_plans(workspace.files, read=args.hash, again=args.rehash)
        cells = bind_cells(grid, workspace.files, need_data=False)
        absent, unhashed = workspace.files.absent or {}, workspace.files.unhashed
        plan = plan_cells(workspace, cells, args.refresh)
        cost = plan_cost(workspace, grid, plan, assumptions_of(args))
        power = power_of(args, workspace, grid)
    if args.explain:
        chosen = find_steps(plan, grid, args.explain)
        emit(args, {"steps": [_explained(step) for step in chosen]}, explanation(chosen))
    else:
        text = plan_text(grid, plan, every_step=args.steps)
        parts = [text, cost_text(cost, grid), power_text(power), unhashed_text(unhashed)]
        text = "\n\n".join(part for part in parts if part) + absent_text(absent, data_sources(grid))
        content = {**plan_content(grid, plan), "cost": cost_content(cost, grid), "absent": absent}
        content["unhashed"] = {path: asdict(each) for path, each in unhashed.items()}
        if power is not None:
            content["power"] = asdict(power)
        emit(args, content, text)
    return WORK_TO_DO if args.check and plan.misses else 0


def plan_content(grid: GridCells, plan: Plan) -> dict[str, Any]:
    """A plan as JSON."""
    return {
        **grid_content(grid),
        "hits": len(plan.hits),
        "misses": len(plan.misses),
        "shared": _shared(plan),
        "predicted_seconds": plan.predicted_seconds,
        "steps": [step_content(step) for step in plan.steps],
    }


def step_content(step: PlannedStep) -> dict[str, Any]:
    """A step as JSON."""
    return {
        "key": step.key,
        "kind": step.spec.kind,
        "label": step.spec.label,
        "hit": step.hit,
        "reason": step.reason,
        "changed_code": list(step.changed_code),
        "accepted": None if step.acceptance is None else asdict(step.acceptance),
        "cells": step.cells,
        "inputs": dict(step.inputs),
        "seconds": step.seconds,
        "bytes": step.size,
        "resources": asdict(step.spec.resources),
    }


def plan_text(grid: GridCells, plan: Plan, *, every_step: bool = False) -> str:
    """A plan for people."""
    seeds = ", ".join(map(str, grid.seeds))
    head = f"{grid.name}: {len(grid.cells)} cells x seeds {seeds}"
    rows = _every_step(plan) if every_step else _grouped(plan)
    counts = f"{len(plan.steps)} steps, {_shared(plan)} of them shared by several cells and seeds"
    told = [head, cell_table(grid), "", _fitting(rows), "", *_changed_code(plan), counts]
    return "\n".join([*told, _total(plan)])


def _fitting(rows: Sequence[tuple[Any, ...]]) -> str:
    """Rows whose last column, a reason each, is as short as a line allows."""
    start = len(columns([(*row[:-1], ".") for row in rows]).partition("\n")[0]) - 1
    width = max(LEAST_WHY, LINE - start)
    return columns([rows[0], *((*row[:-1], brief(row[-1], width)) for row in rows[1:])])


def brief(reason: str, width: int) -> str:
    """A reason in few words: as many of the differences as fit, and how many are left."""
    changes = [
        CHANGE.sub(r"\1: ", change).replace(".settings.", ".") for change in reason.split("; ")
    ]
    more = AND_MORE.fullmatch(changes[-1])
    left = int(more[1]) if more else 0
    changes = changes[:-1] if more else changes
    shown = len(changes)
    while shown:
        unsaid = left + len(changes) - shown
        text = "; ".join([*changes[:shown], *([f"and {unsaid} more"] if unsaid else [])])
        if len(text) <= width:
            return text
        shown -= 1
    text = changes[0] + (f"; and {left} more" if left else "")
    return text if len(text) <= width else text[: width - 3] + "..."


def _changed_code(plan: Plan) -> list[str]:
    """Which functions changed, by kind of step; an edit without effect can be accepted."""
    changes: dict[tuple[str, ...], list[str]] = {}
    for step in plan.misses:
        if step.changed_code and step.spec.kind not in changes.setdefault(step.changed_code, []):
            changes[step.changed_code].append(step.spec.kind)
    lines = []
    for lines_of_code, kinds in changes.items():
        lines += [f"code of {', '.join(kinds)}:", *(f"  {line}" for line in lines_of_code)]
    hint = "an edit that changes no number can be accepted: workflows accept --help"
    return [*lines, hint, ""] if lines else []


def absent_text(absent: Mapping[str, str], sources: Mapping[str, str]) -> str:
    """What has to be brought before these steps can run; nothing if all is here."""
    if not absent:
        return ""
    rows = [(path, key, sources.get(key, "")) for path, key in sorted(absent.items())]
    head = f"{len(absent)} files or folders that the grid names are not here; submit needs them:"
    return "\n".join(["", "", head, columns(rows)])


def _shared(plan: Plan) -> int:
    """Steps that more than one cell or seed reads from."""
    return sum(step.cells > 1 for step in plan.steps)


def _every_step(plan: Plan) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = [("STEP", "LABEL", "", "x CELLS", "TIME", "KEY", "WHY")]
    for step in plan.steps:
        spec = step.spec
        state = "hit" if step.hit else "run"
        time = _time([step])
        rows.append(
            (spec.kind, spec.label, state, f"x{step.cells}", time, step.key[:12], step.reason)
        )
    return rows


def _grouped(plan: Plan) -> list[tuple[Any, ...]]:
    """Steps that differ in nothing one would read are one row."""
    rows: list[tuple[Any, ...]] = [("STEP", "LABEL", "", "STEPS", "x CELLS", "TIME", "WHY")]
    order = {step.spec.kind: index for index, step in reversed(list(enumerate(plan.steps)))}

    def likeness(step: PlannedStep) -> tuple[Any, ...]:
        kind = step.spec.kind
        return (order[kind], kind, step.spec.label, not step.hit, step.reason, step.cells)

    for (_, kind, label, miss, reason, cells), group in groupby(
        sorted(plan.steps, key=likeness), key=likeness
    ):
        steps = list(group)
        state = "run" if miss else "hit"
        rows.append((kind, label, state, len(steps), f"x{cells}", _time(steps), reason))
    return rows


def _time(steps: Iterable[PlannedStep]) -> str:
    """Predicted time of what has to run; nothing for hits, a question mark without history."""
    runs = [step.seconds for step in steps if not step.hit]
    if not runs:
        return ""
    known = [seconds for seconds in runs if seconds is not None]
    return duration(sum(known)) if len(known) == len(runs) else "?"


def _total(plan: Plan) -> str:
    count, misses = len(plan.steps), len(plan.misses)
    if not misses:
        return f"all {count} steps are done: nothing to run"
    known = [step.seconds for step in plan.misses if step.seconds is not None]
    time = "time unknown, as no step of these sizes has run"
    if known:
        time = f"about {duration(sum(known))} one after the other"
    if known and len(known) < misses:
        time += f", without {misses - len(known)} steps of sizes that never ran"
    return f"{misses} of {count} steps to run, {count - misses} done: {time}"


def find_steps(plan: Plan, grid: GridCells, target: str) -> list[PlannedStep]:
    """The steps that `STEP@CELL` names, one per seed where seeds do not share them.

    Raises:
        ConfigError: no such step or cell.
    """
    role, _, place = target.partition("@")
    cell = _cell(grid, place)
    found: dict[str, PlannedStep] = {}
    roles: set[str] = set()
    for key, links in plan.links.items():
        if key.cell_id == cell.cell_id:
            roles |= set(links)
            if role in links:
                found[links[role]] = plan.by_key[links[role]]
    if not found:
        message = f"{cell.title} has no step {role!r}{did_you_mean(role, roles)}"
        raise ConfigError([Fault(message, file="--explain")])
    return list(found.values())


def _cell(grid: GridCells, place: str) -> GridCell:
    if not place:
        return grid.cells[0]
    for cell in grid.cells:
        if place in (cell.cell_id, cell.name, cell.label):
            return cell
    names = [cell.title for cell in grid.cells]
    raise ConfigError([Fault(f"no cell {place!r}{did_you_mean(place, names)}", file="--explain")])


def _explained(step: PlannedStep) -> dict[str, Any]:
    return {
        **step_content(step),
        "entry": step.spec.entry,
        "params": dict(step.spec.params),
        "recipe": asdict(step.recipe),
    }


def explanation(steps: Iterable[PlannedStep]) -> str:
    """What the identity of steps is made of, for people."""
    parts = []
    for step in steps:
        state = "hit" if step.hit else "to run"
        recipe = asdict(step.recipe)
        recipe.pop("params", None)
        lines = [f"{step.spec.kind} {step.spec.label}".rstrip() + f"  {step.key[:12]}  {state}"]
        lines.append(f"  why      {step.reason}")
        lines += [f"  code     {change}" for change in step.changed_code]
        lines += [f"  input    {name}: {key[:12]}" for name, key in sorted(step.inputs.items())]
        lines += [
            f"  {name:8} {json.dumps(value, sort_keys=True, default=str)}"
            for name, value in sorted(recipe.items())
            if name not in ("inputs", "kind")
        ]
        lines += [
            f"  param    {name}: {json.dumps(value, sort_keys=True)}"
            for name, value in sorted(step.spec.params.items())
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _diff(args: argparse.Namespace, grid: GridCells) -> int:
    diff = diff_grids(_older(args), grid)
    content = {
        "added": [cell_content(cell) for cell in diff.added],
        "removed": [cell_content(cell) for cell in diff.removed],
        "kept": [cell_content(cell) for cell in diff.kept],
        "seeds_added": list(diff.seeds_added),
        "seeds_removed": list(diff.seeds_removed),
    }
    emit(args, content, _diff_text(args, diff))
    return WORK_TO_DO if args.check and not diff.is_empty else 0


def _older(args: argparse.Namespace) -> GridCells:
    """The grid to compare with: a file, or what a run was submitted with."""
    path = Path(args.diff)
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return load_cells(path, smoke=args.smoke)
    from threedrs_platform.workspace import find_workspace

    with find_workspace(args.workspace, args.db, with_runs=True) as workspace:
        submitted = workspace.runs.get(args.diff)
    options = submitted.options
    return expand(
        load_document(submitted.grid_yaml, submitted.grid_file),
        smoke=bool(options.get("smoke")),
        sets=options.get("sets") or (),
        where=options.get("where"),
    )


def _diff_text(args: argparse.Namespace, diff: GridDiff) -> str:
    rows = [("+", cell.cell_id, cell.name, cell.label) for cell in diff.added]
    rows += [("-", cell.cell_id, cell.name, cell.label) for cell in diff.removed]
    lines = [f"from {args.diff} to {args.file}: {len(diff.kept)} cells stay"]
    lines += [columns(rows)] if rows else []
    for sign, seeds in (("+", diff.seeds_added), ("-", diff.seeds_removed)):
        if seeds:
            lines.append(f"  {sign}  seeds {', '.join(map(str, seeds))}")
    return "\n".join(lines)
