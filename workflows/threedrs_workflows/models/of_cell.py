"""The trained student of a cell of a run, with the settings of the cell's own steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from threedrs_components.models.of_steps import recipe_of, spec_of
from threedrs_components.models.recipe import Recipe
from threedrs_platform.database.measurements import CellResult
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.states import StepState
from threedrs_platform.steps import StepSpec
from threedrs_platform.workspace import Workspace
from threedrs_workflows.steps.params import StepParams

FINETUNE = "finetune"
"""The role of the step that trains the student."""
P = TypeVar("P", bound=StepParams)


class CellSteps:
    """The steps of one cell under one seed: what they were told, and what they made."""

    def __init__(self, workspace: Workspace, run_id: str, cell: CellResult) -> None:
        self._workspace, self.run_id, self.cell = workspace, run_id, cell
        self.specs: Mapping[str, StepSpec] = next(
            each.steps
            for each in workspace.runs.cells(run_id)
            if (each.cell_id, each.seed) == (cell.cell_id, cell.seed)
        )
        self._made = {
            step.role: step.output_digest
            for step in cell.steps
            if step.state is StepState.SUCCEEDED and step.output_digest
        }

    @property
    def title(self) -> str:
        """Cell and seed."""
        return f"{self.cell.title}, seed {self.cell.seed}"

    def params(self, role: str, kind: type[P]) -> P:
        """What a step was told."""
        return kind.of(spec_of(self, role))

    def folder(self, role: str) -> Path:
        """What a step made, verified.

        Raises:
            ConfigError: the cell has no such step, or it has not succeeded.
            ArtifactError: the store no longer holds it.
        """
        spec_of(self, role)
        if role not in self._made:
            message = (
                f"{self.title} has no finished step {role!r}; `workflows status {self.run_id}`"
            )
            raise ConfigError(
                [Fault(f"{message} tells why, `workflows resume` goes on; --run names another run")]
            )
        return self._workspace.store.checkout(self._made[role])

    def cautions(self) -> list[str]:
        """What should be known of its student before it is asked: whether it has learned much."""
        if not self._workspace.runs.get(self.run_id).options.get("smoke"):
            return []
        steps = spec_of(self, FINETUNE).params["training"]["steps"] if FINETUNE in self.specs else 0
        return [
            f"this student was trained for {steps} steps in the tiny sizes of --smoke; its answers "
            "mean nothing"
        ]

    def recipe(self) -> Recipe:
        """Its student, asked as the cell asks it.

        Raises:
            ConfigError: it has not been trained yet.
            ArtifactError: the store no longer holds it.
        """
        return recipe_of(self)
