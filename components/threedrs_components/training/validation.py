"""What the student makes of scenes that it is not trained on, asked now and then during training.

The weights come out as if nobody had asked. The loss is that of the tasks, with weight 1 each and
without the 3D losses: so it compares trainings whose loss weights differ. A task whose weight is 0
is not measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch

from threedrs_components.objectives.settings import ObjectiveSettings
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.data import TrainingData
from threedrs_components.training.objective import Totals, TrainingModule
from threedrs_components.training.strategies import autocast
from threedrs_components.training.visits import ScenePlan


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
        narrow = autocast(module.student.device, self.training.dtype)
        with torch.no_grad(), narrow, closing(self.data.batches(visits)) as micros:
            for micro in micros:
                _, parts = module(micro, totals)
                for name, value in parts.items():
                    sums[name] = sums.get(name, 0.0) + value
        module.train()
        return _named(sums, [each.settings for each in module.objectives])

    def _visits(self) -> list[ScenePlan]:
        """The scenes that have questions."""
        most = self.training.questions_per_scene
        return [
            ScenePlan(scene_id, tuple(range(min(most, len(samples)))), f"validation/{scene_id}")
            for scene_id, samples in sorted(self.data.samples.items())
            if samples
        ]


def _named(sums: Mapping[str, float], objectives: Sequence[ObjectiveSettings]) -> dict[str, float]:
    tasks = [each for each in objectives if each.per == "question"]
    losses = {each.loss_part: sums[each.loss_part] for each in tasks if each.loss_part in sums}
    named = {f"validation/{name}": value for name, value in losses.items()}
    named["validation/loss"] = sum(losses.values())
    for share in (share for each in tasks for share in each.shares):
        if sums.get(share.asked):
            named[f"validation/{share.name}"] = sums[share.right] / sums[share.asked]
    return named
