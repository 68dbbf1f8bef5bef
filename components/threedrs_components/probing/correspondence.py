"""Correspondence scores: how alike features of one voxel are across views."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from threedrs_components.objectives.pair_blocks import (
    check_tokens,
    column_blocks,
    column_slices,
    inverse_norms,
    working_dtype,
)
from threedrs_components.scenes.pairs import PairMatrix


@dataclass(frozen=True)
class CorrespondenceScore:
    """Scores of one scene. A mean over no pairs is NaN: check `pairs` before averaging scenes.

    The raw score mostly measures anisotropy (collapsed features score 1), hence the other columns.
    """

    score: float
    """The paper's: mean cosine over all positive pairs."""
    negative_mean: float
    """Mean cosine over all negative pairs."""
    margin: float
    """score - negative_mean; 0 for collapsed features."""
    mean_of_voxels: float
    """Mean over voxels of the mean cosine of their positive pairs."""
    standardised: float
    """score after every feature dimension is standardised over the scene's tokens."""
    standardised_margin: float
    pairs: int
    """Positive pairs."""
    voxels: int
    """Voxels that hold at least one positive pair."""
    frames: int
    tokens: int


def correspondence_score(features: Tensor, pairs: PairMatrix) -> CorrespondenceScore:
    """Score one scene in time linear in tokens and pairs held, with exact counts.

    Args:
        features: [T, D] any float type, any device; a zero vector has cosine 0 with everything.
        pairs: correspondences of the scene, on the same device.
    """
    check_tokens(features, pairs)
    with torch.no_grad():
        positive, negative = _pair_means(features, pairs)
        by_voxel = _mean_of_voxels(features, pairs)
        standard_positive, standard_negative = _pair_means(standardised(features), pairs)
    return CorrespondenceScore(
        score=positive,
        negative_mean=negative,
        margin=positive - negative,
        mean_of_voxels=by_voxel,
        standardised=standard_positive,
        standardised_margin=standard_positive - standard_negative,
        pairs=pairs.positive_pairs,
        voxels=pairs.voxels,
        frames=pairs.num_frames,
        tokens=pairs.num_tokens,
    )


def standardised(features: Tensor) -> Tensor:
    """Every dimension of [T, D] to mean 0 and deviation 1 over the tokens; constant ones to 0."""
    working = features.to(working_dtype(features))
    mean = working.mean(dim=0)
    centred = working - mean
    deviation = torch.linalg.vector_norm(centred, dim=0) / math.sqrt(len(features))
    # A constant column must not be blown up from its rounding error.
    constant = deviation <= 1e-6 * mean.abs()
    return centred.div_(torch.where(constant, torch.inf, deviation))


def _pair_means(features: Tensor, pairs: PairMatrix) -> tuple[float, float]:
    """Mean cosine of positive and of negative pairs."""
    positive = different_view = 0.0
    for block in column_blocks(features, inverse_norms(features), pairs, both_orders=False):
        positive += float(block.positive)
        different_view += float(block.different_view) / 2
    return (
        mean_over(positive, pairs.positive_pairs),
        mean_over(different_view - positive, pairs.negative_pairs),
    )


def mean_over(total: float, number: int) -> float:
    """total / number, NaN over nothing."""
    return total / number if number else float("nan")


def _mean_of_voxels(features: Tensor, pairs: PairMatrix) -> float:
    inverse = inverse_norms(features)
    weights = pairs.upper(pairs.voxel_weights, inverse.dtype)
    total = 0.0
    for columns in column_slices(features):
        unit = features[:, columns] * inverse
        total += float((torch.sparse.mm(weights, unit) * unit).sum(dtype=torch.float64))
    return total if pairs.voxels else float("nan")
