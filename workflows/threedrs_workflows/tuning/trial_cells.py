"""From a trial's settings to the cells that measure it, and the keys of their steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.steps import Cell
from threedrs_platform.workspace import Workspace
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.experiment_identity import experiment_id
from threedrs_workflows.grid.cells import GridCell
from threedrs_workflows.grid.names import cell_name
from threedrs_workflows.grid.tune_arms import PROBE, Arm, Tuning
from threedrs_workflows.plan.binding import bind_cell
from threedrs_workflows.plan.graph import Graph, GraphBuilder

BindCell = Callable[[GridCell, int, FileDigests], Cell]
"""From a configuration and a seed to the steps that measure it."""


@dataclass(frozen=True)
class TrialCells:
    """Makes the cells of a tuning run's trials, by the code and from the data of today."""

    workspace: Workspace
    tuning: Tuning
    bind: BindCell = bind_cell

    def make(
        self, arm: Arm, number: int, values: Mapping[str, Any], experiment: Experiment
    ) -> list[Cell]:
        """The cells of a trial, without the steps that no metric is of."""
        title = f"{arm.title} trial {number}" if arm.values else f"trial {number}"
        cell = GridCell(
            experiment_id(experiment),
            cell_name({**arm.values, **values}),
            title,
            {},
            experiment,
            False,
            self.tuning.resources,
        )
        bound = [self.bind(cell, seed, self.workspace.files) for seed in self.tuning.section.seeds]
        unused = self._unused_roles()
        return [
            replace(each, steps={role: s for role, s in each.steps.items() if role not in unused})
            for each in bound
        ]

    def graph(self, cells: Sequence[Cell]) -> Graph:
        """The steps of cells with their keys."""
        return GraphBuilder(self.workspace.code.digest).build(cells)

    def _unused_roles(self) -> set[str]:
        sources = {name.partition("/")[0] for name in self.tuning.section.metrics}
        if sources == {PROBE}:
            return {"score", "predict"}
        return set() if PROBE in sources else {PROBE}


def measuring_keys(graph: Graph) -> dict[str, str]:
    """Seed and role -> key of each step that no other step reads from.

    All that a trial's value depends on is upstream of these steps, and so inside their keys.
    """
    return {
        f"{cell.seed}/{role}": key
        for cell, roles in graph.links.items()
        for role, key in roles.items()
        if not graph.nodes[key].users
    }
