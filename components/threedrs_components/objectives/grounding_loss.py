"""Contrastive grounding: pick the described objects among the scene's candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from threedrs_components.objectives.objective import Objective, StudentPass
from threedrs_components.students.batches import SceneBatch

if TYPE_CHECKING:
    from threedrs_components.objectives.grounding import GroundingConfig


class Grounding(Objective):
    """Sum over grounding questions; the student's own head scores the candidates."""

    settings: GroundingConfig

    def is_asked(self, batch: SceneBatch) -> bool:
        """Whether the batch has a grounding question."""
        return len(batch.ground_tokens) > 0

    def forward(self, student_pass: StudentPass, whole: int) -> tuple[Tensor, dict[str, float]]:
        """Zero, with a gradient, where nothing is asked."""
        scores, batch = _scores(student_pass), student_pass.batch
        loss = scores.sum()
        if len(scores):
            temperature = self.settings.temperature
            mean = grounding_loss(scores, batch.positives, temperature, batch.present)
            loss = mean * len(scores)
        (accuracy,) = self.settings.shares
        correct = _correct(scores, batch)
        return loss / whole, {accuracy.right: correct, accuracy.asked: float(len(scores))}


def _scores(student_pass: StudentPass) -> Tensor:
    """[G, K + 1] cosines of each question with the candidates of its scene."""
    student, batch, output = student_pass.student, student_pass.batch, student_pass.output
    features = student.object_features(
        batch.candidate_weights, batch.candidate_boxes, output, batch.candidate_patches
    )
    candidates = student.grounding.objects(features)
    queries = output.states[batch.ground_tokens]
    scores: Tensor = student.grounding(queries, candidates, batch.ground_scenes)
    return scores


def grounding_loss(
    scores: Tensor, positives: Tensor, temperature: float, mask: Tensor | None = None
) -> Tensor:
    """Mean over queries of -log(sum over positives exp(s / t) / sum over all exp(s / t)).

    Positives stand jointly in the numerator: it is enough to be sure of their union.

    Args:
        scores: [Q, K + 1] cosines with the candidates, "no object" last.
        positives: [Q, K + 1] bool, at least one per query; "no object" for a zero-target query.
        temperature: t.
        mask: [Q, K + 1] bool, candidates that exist; None if all do.

    Raises:
        ValueError: a query has no positive among its candidates.
    """
    present = torch.ones_like(positives) if mask is None else mask
    targets = positives & present
    without = (~targets.any(dim=1)).nonzero().flatten().tolist()
    if without:
        raise ValueError(
            f"query {without[0]} has no positive candidate; "
            "a query without target must mark the last slot"
        )
    logits = scores.float() / temperature
    every = logits.masked_fill(~present, -torch.inf).logsumexp(dim=1)
    chosen = logits.masked_fill(~targets, -torch.inf).logsumexp(dim=1)
    return (every - chosen).mean()


def _correct(scores: Tensor, batch: SceneBatch) -> float:
    """How many grounding questions the best-scored candidate answers."""
    best = scores.detach().masked_fill(~batch.present, -torch.inf).argmax(dim=1, keepdim=True)
    return float(batch.positives.gather(1, best).sum())
