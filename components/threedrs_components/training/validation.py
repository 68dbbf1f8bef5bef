"""What the student makes of scenes that it is not trained on, asked now and then during training.

The weights come out as if nobody had asked. The loss is that of the tasks, with weight 1 each and
without the 3D losses: so it compares trainings whose loss weights differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.data import TrainingData
from threedrs_components.training.objective import Totals, TrainingModule
from threedrs_components.training.strategies import autocast
from threedrs_components.training.visits import ScenePlan

TASKS = ("grounding", "text")


@dataclass(frozen=True)
class Validation:
    """Held-out scenes with their first questions, always the same."""

    data: TrainingData
    training: TrainingConfig

    def values(self, module: TrainingModule) -> dict[str, float]:
        """Mean loss per question, of all and of each task, and the share of objects found.

        Called on every rank: sharded weights are gathered by all of them together.
        """
        visits = self._visits()
        totals = Totals(sum(len(visit.questions) for visit in visits), len(visits))
        sums: dict[str, float] = {}
        module.eval()
        with torch.no_grad(), autocast(module.student.device, self.training.dtype):
            for visit in visits:
                _, parts = module(self.data.assemble([visit]), totals)
                for name, value in parts.items():
                    sums[name] = sums.get(name, 0.0) + value
        module.train()
        return _named(sums)

    def _visits(self) -> list[ScenePlan]:
        """The scenes that have questions."""
        most = self.training.questions_per_scene
        return [
            ScenePlan(scene_id, tuple(range(min(most, len(samples)))), f"validation/{scene_id}")
            for scene_id, samples in sorted(self.data.samples.items())
            if samples
        ]


def _named(sums: Mapping[str, float]) -> dict[str, float]:
    losses = {task: sums[f"loss/{task}"] for task in TASKS if f"loss/{task}" in sums}
    named = {f"validation/loss/{task}": value for task, value in losses.items()}
    named["validation/loss"] = sum(losses.values())
    if sums.get("grounding/asked"):
        named["validation/accuracy"] = sums["grounding/correct"] / sums["grounding/asked"]
    return named
