"""The trained student of a cell of a run, with the settings of the cell's own steps."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from threedrs_components.benchmarks.loader import Loader
from threedrs_components.benchmarks.scorer import Scorer
from threedrs_components.students.settings import StudentSettings
from threedrs_platform.database.measurements import CellResult
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.states import StepState
from threedrs_platform.steps import StepSpec
from threedrs_platform.workspace import Workspace
from threedrs_workflows.models.recipe import Evaluated, Recipe
from threedrs_workflows.steps.params import StepParams
from threedrs_workflows.steps.params.predict import PredictParams
from threedrs_workflows.steps.params.prepare import PrepareParams
from threedrs_workflows.steps.params.samples import SamplesParams
from threedrs_workflows.steps.params.score import ScoreParams

P = TypeVar("P", bound=StepParams)


class CellSteps:
    """The steps of one cell under one seed: what they were told, and what they made."""

    def __init__(self, workspace: Workspace, run_id: str, cell: CellResult) -> None:
        self._workspace, self.run_id, self.cell = workspace, run_id, cell
        self._specs = next(
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
        return kind.of(self._spec(role))

    def folder(self, role: str) -> Path:
        """What a step made, verified.

        Raises:
            ConfigError: the cell has no such step, or it has not succeeded.
            ArtifactError: the store no longer holds it.
        """
        self._spec(role)
        if role not in self._made:
            message = (
                f"{self.title} has no finished step {role!r}; `workflows status {self.run_id}`"
            )
            raise ConfigError([Fault(f"{message} tells why, `workflows resume` goes on")])
        return self._workspace.store.checkout(self._made[role])

    def recipe(self) -> Recipe:
        """Its student, asked as the cell asks it.

        Raises:
            ConfigError: it has not been trained yet.
            ArtifactError: the store no longer holds it.
        """
        role = "finetune" if "finetune" in self._specs else "pretrain"
        asked, judged = self.params("predict", PredictParams), self.params("score", ScoreParams)
        read = self.params("samples", SamplesParams)
        scorers = {each.kind: each for each in (one.open(Scorer) for one in judged.scorers)}
        loaders = {each.kind: each for each in (one.loader.open(Loader) for one in read.evaluated)}
        return Recipe(
            title=self.title,
            folder=self.folder(role),
            student=asked.student.open(StudentSettings),
            dtype=asked.evaluation.dtype,
            prepare=self.params("prepare", PrepareParams).prepare.of_evaluation(),
            wording=read.wording,
            benchmarks={
                name: Evaluated(loader, asked.asking[name], scorers[name])
                for name, loader in loaders.items()
            },
            source=f"the settings of run {self.run_id}",
        )

    def _spec(self, role: str) -> StepSpec:
        if role not in self._specs:
            known = ", ".join(self._specs)
            raise ConfigError([Fault(f"{self.title} has no step {role!r}; it has {known}")])
        return self._specs[role]
