"""The whole training objective as one module: a micro-batch in, a scalar and its parts out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from threedrs_components.objectives.objective import Objective, StudentPass
from threedrs_components.students.places import Place
from threedrs_components.students.student import Student
from threedrs_components.training.data import MicroBatch

TOKENS = "tokens"
"""The part that counts the tokens of a micro-batch, for the speed of training."""


@dataclass(frozen=True)
class Totals:
    """What a step's sums are divided by: its questions and scenes over all workers and rounds."""

    questions: int
    scenes: int


class TrainingModule(nn.Module):
    """Student, objectives with their heads, and the weighted sum of the losses.

    Task losses are means over the step's questions, 3D losses means over its scenes, so with one
    question per scene the sum is the released one, and more questions only share the prefix.
    """

    def __init__(self, student: Student, objectives: Sequence[Objective]) -> None:
        super().__init__()
        self.student, self.objectives = student, tuple(objectives)
        # A tuple alone would hide the heads from the optimizer, and from checkpoints.
        self.heads = nn.ModuleDict({each.name: each for each in objectives})
        self.runs_every_head = False
        """Also those that a batch has no question for: workers that gather sharded weights
        together must gather the same ones, in one order."""

    @property
    def layers(self) -> tuple[Place, ...]:
        """Places whose states some objective reads at visual tokens."""
        layers = {layer for each in self.objectives for layer in each.settings.visual_layers}
        return (*sorted(layers - {-1}, key=str), -1)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of everything that is reported, whatever the batch."""
        return (TOKENS, *(part for each in self.objectives for part in each.settings.parts))

    def forward(self, micro: MicroBatch, totals: Totals) -> tuple[Tensor, dict[str, float]]:
        """This micro-batch's share of the step's loss, and of each part."""
        batch = micro.batch.to(self.student.device)
        frames = batch.frames
        for objective in self.objectives:
            frames = objective.seen(frames)
        output = self.student(frames, batch.layout, batch.ids, batch.regions, self.layers)
        layout = batch.layout
        parts = {TOKENS: float(layout.scenes * layout.prefix + len(batch.ids))}
        weighted: list[Tensor] = []
        for objective in self.objectives:
            if not self._runs(objective, micro):
                continue
            settings = objective.settings
            target = micro.targets.get(objective.name)
            whole = totals.questions if settings.per == "question" else totals.scenes
            seen = StudentPass(
                self.student, batch, output, target, micro.seeds, self.runs_every_head
            )
            loss, own = objective(seen, whole)
            assert own.keys() <= set(settings.parts), f"{settings.name} announces not all parts"
            weighted.append(settings.weight * loss)
            parts |= own | {settings.loss_part: float(loss.detach())}
        if not weighted:
            # Still a function of the weights: every worker must have something to go back from.
            return output.states.sum() * 0.0, parts
        return torch.stack(weighted).sum(), parts

    def _runs(self, objective: Objective, micro: MicroBatch) -> bool:
        """Held-out scenes come without targets: only the losses of tasks are measured there."""
        if objective.has_target and objective.name not in micro.targets:
            return False
        return self.runs_every_head or objective.is_asked(micro.batch)
