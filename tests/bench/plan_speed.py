"""What a plan of thousands of cells costs: nothing is done, all is done, all code was edited.

    python tests/bench/plan_speed.py [--cells 1000 10000] [--profile FILE]

Prints CPU-seconds of this process; the wall clock of a shared machine lies. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import func, literal

from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.database import schema
from threedrs_platform.database.runs import Submission
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.grid.cells import GridCells, expand
from threedrs_workflows.plan.binding import bind_cells
from threedrs_workflows.plan.plan import Plan
from threedrs_workflows.plan.submission import plan_cells, record

SEEDS = 5
GRID = """
version: 1
name: many
base: {{preset: micro}}
seeds: [1, 2, 3, 4, 5]
limits: {{max_cells: 100000}}
matrix:
  teacher: [mae, vggt]
  alignment.layers: [[-1], [1], [2], [1, 2], [1, -1]]
  alignment.weight: {{range: [1, {weights}, 1]}}
  training.learning_rate: {{values: [0.0001, 0.001, 0.002, 0.01]}}
  correspondence.weight: {{values: [0.0, 0.1, 0.5, 1.0, 2.0]}}
"""
PER_WEIGHT = 2 * 5 * 4 * 5 * SEEDS


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU-seconds of a call, and what it returned."""
    began = time.process_time()
    made = work()
    return time.process_time() - began, made


def grid_of(cells: int) -> GridCells:
    """A grid with as many cells, seeds counted."""
    return expand(load_document(GRID.format(weights=max(1, cells // PER_WEIGHT)), "many.yaml"))


def planned(workspace: Workspace, grid: GridCells) -> Plan:
    """What `workflows plan` does before it prints."""
    return plan_cells(workspace, bind_cells(grid, workspace.files, need_data=False))


def finish(workspace: Workspace, plan: Plan) -> None:
    """Write all steps of a plan down as done, each with an artifact of no bytes."""
    record(workspace, Submission("many", "many.yaml", "", {}), plan)
    empty = Path(tempfile.mkdtemp())
    (empty / "nothing.txt").write_text("")
    artifact = workspace.store.publish(empty)
    nodes = plan.graph.nodes.values()
    with workspace.database.write() as connection:
        for node in nodes:
            digests = dict.fromkeys(node.inputs, artifact.digest)
            connection.execute(
                schema.steps.update()
                .where(schema.steps.c.key == node.key)
                .values(
                    state="succeeded",
                    output_digest=artifact.digest,
                    output_bytes=0,
                    content_key=node.recipe.content_key(digests),
                )
            )


def edit(workspace: Workspace) -> None:
    """Let all recorded steps be those of other code: every step is new, with a predecessor."""
    steps, inputs = schema.steps, schema.step_inputs
    with workspace.database.write() as connection:
        old: dict[str, Any] = {
            "recipe_json": func.replace(steps.c.recipe_json, '"code":"', '"code":"0')
        }
        old["content_key"] = literal("old") + steps.c.content_key
        connection.execute(steps.update().values(key=literal("old") + steps.c.key, **old))
        connection.execute(inputs.update().values(step_key=literal("old") + inputs.c.step_key))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cells", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--profile", help="where to write what cProfile saw")
    args = parser.parse_args()
    profile = cProfile.Profile() if args.profile else None
    for count in args.cells:
        with tempfile.TemporaryDirectory() as root, find_workspace(root, environment={}) as work:
            planned(work, grid_of(PER_WEIGHT))  # code digests and data are read once
            if profile is not None:
                profile.enable()
            expanding, grid = cpu(lambda n=count: grid_of(n))  # type: ignore[misc]
            binding, cells = cpu(lambda g=grid, w=work: bind_cells(g, w.files, need_data=False))  # type: ignore[misc]
            empty, plan = cpu(lambda c=cells, w=work: plan_cells(w, c))  # type: ignore[misc]
            if profile is not None:
                profile.disable()
            finish(work, plan)
            again, done = cpu(lambda c=cells, w=work: plan_cells(w, c))  # type: ignore[misc]
            assert not done.misses
            edit(work)
            changed, new = cpu(lambda c=cells, w=work: plan_cells(w, c))  # type: ignore[misc]
            assert not new.hits
            print(
                f"{len(cells)} cells, {len(plan.steps)} steps: expand {expanding:.2f}, "
                f"bind {binding:.2f}, plan {empty:.2f} empty, {again:.2f} all done, "
                f"{changed:.2f} all edited; "
                f"sum {expanding + binding + empty:.2f} and {expanding + binding + again:.2f} "
                f"CPU-s, load {os.getloadavg()[0]:.1f}"
            )
    if profile is not None:
        profile.dump_stats(args.profile)


if __name__ == "__main__":
    main()
