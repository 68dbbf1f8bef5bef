"""Correspondence loss: exact value and gradient over all pairs, in time linear in the tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from threedrs_components.objectives.objective import Objective, StudentPass
from threedrs_components.objectives.pair_blocks import (
    Block,
    check_tokens,
    column_blocks,
    inverse_norms,
    working_dtype,
)
from threedrs_components.scenes.pairs import PairMatrix
from threedrs_components.scenes.prepared import PreparedScene, scene_pairs

if TYPE_CHECKING:
    from threedrs_components.objectives.correspondence import CorrespondenceConfig


class Correspondence(Objective):
    """Sum over scenes of the loss among their own tokens."""

    settings: CorrespondenceConfig

    def target(self, scene: PreparedScene) -> PairMatrix:
        """The scene's pairs, at the level of the settings."""
        return scene_pairs(scene, level=self.settings.level, voxel_m=self.settings.voxel_m)

    def forward(self, student_pass: StudentPass, whole: int) -> tuple[Tensor, dict[str, float]]:
        """One scene after another."""
        hidden = student_pass.output.hidden[self.settings.layer].flatten(1, 3)
        pairs: Sequence[PairMatrix] = student_pass.target
        losses = [
            correspondence_loss(
                states, scene.to(states.device), negative_weight=self.settings.negative_weight
            )[0]
            for states, scene in zip(hidden, pairs, strict=True)
        ]
        return torch.stack(losses).sum() / whole, {}


def correspondence_loss(
    features: Tensor, pairs: PairMatrix, *, negative_weight: float = 1.0
) -> tuple[Tensor, dict[str, float]]:
    """mean(1 - cos) over positive pairs + negative_weight * mean(cos) over negative pairs.

    Args:
        features: [T, D] hidden states at the scene's visual tokens, any float type, any device.
        pairs: correspondences of the scene, on the same device. A kind of pair that the scene does
            not have contributes neither loss nor gradient.
        negative_weight: the paper's equation has 1.

    Returns:
        Scalar float32 (float64 for float64 features), and the two means for logging.
    """
    check_tokens(features, pairs)
    apply = cast(Callable[..., tuple[Tensor, Tensor]], _PairLoss.apply)
    loss, means = apply(features, pairs, negative_weight)
    positive, negative = means.tolist()
    return loss, {"correspondence/positive": positive, "correspondence/negative": negative}


class _PairLoss(torch.autograd.Function):
    """The product M @ unit serves both value and gradient, so forward computes both."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, pairs: PairMatrix, negative_weight: float
    ) -> tuple[Tensor, Tensor]:
        gradient = None
        if ctx.needs_input_grad[0]:
            gradient = torch.empty_like(features, dtype=working_dtype(features))
        with torch.autocast(features.device.type, enabled=False):
            means = _means_and_gradient(features, pairs, negative_weight, gradient)
        if gradient is not None:
            ctx.save_for_backward(gradient.to(features.dtype))
        loss = float(pairs.positive_pairs > 0) - means[0] + negative_weight * means[1]
        ctx.mark_non_differentiable(means)
        return loss.to(working_dtype(features)), means

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor, _means: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outer.to(gradient.dtype), None, None


def _means_and_gradient(
    features: Tensor, pairs: PairMatrix, negative_weight: float, gradient: Tensor | None
) -> Tensor:
    """Mean cosine [positive, negative] in float64; writes the loss gradient into `gradient`."""
    inverse = inverse_norms(features)
    number = 1 / torch.tensor(
        [max(pairs.positive_pairs, 1), max(pairs.negative_pairs, 1)], dtype=torch.float64
    )
    totals = torch.zeros(2, dtype=torch.float64, device=features.device)
    radial = torch.zeros_like(inverse)
    points = pairs.points.to(torch.float64)[:, None]
    for block in column_blocks(features, inverse, pairs, both_orders=True):
        positive = block.positive / 2
        totals += torch.stack([positive, block.different_view / 2 - positive])
        if gradient is not None:
            slope = _slope(block, points, float(number[0]), negative_weight * float(number[1]))
            radial += (slope * block.unit).sum(dim=1, keepdim=True)
            gradient[:, block.columns] = slope
    if gradient is not None:
        # Through the normalisation: only the part across the unit vector survives.
        gradient.addcmul_(features * inverse, radial, value=-1).mul_(inverse)
    return totals * number.to(totals.device)


def _slope(block: Block, points: Tensor, positive: float, negative: float) -> Tensor:
    """[T, c] derivative of the loss by the unit features.

    Each token meets M @ unit in positive pairs, and in negative ones whatever its points meet in
    other views, less M @ unit.
    """
    frames, width = block.other_views.shape
    met = (points.view(frames, -1, 1) * block.other_views[:, None]).view(-1, width)
    return (negative * met - (positive + negative) * block.matched).to(block.unit.dtype)
