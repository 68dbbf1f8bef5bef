"""Correspondence scores: how alike features of one voxel are across views."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from threedrs_components.scenes.pairs import PairMatrix

CPU_COLUMNS, DEVICE_COLUMNS = 128, 1024
"""Feature columns in work at a time: what fits a processor's cache, and few enough launches."""


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


@dataclass(frozen=True)
class Block:
    """Some feature columns of unit features, and what they sum to over the pairs."""

    columns: slice
    unit: Tensor
    """[T, c] columns of the unit features"""
    matched: Tensor
    """[T, c] sum of partners in positive pairs: M @ unit, or its upper half"""
    other_views: Tensor
    """[F, c] float64: sum over the points of all other views"""
    different_view: Tensor
    """float64 scalar: sum over different-view pairs (both orders) of their products"""

    @property
    def positive(self) -> Tensor:
        """Float64 scalar: sum over the entries of M that `matched` covers."""
        return (self.matched * self.unit).sum(dtype=torch.float64)


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


def check_tokens(features: Tensor, pairs: PairMatrix) -> None:
    """Refuse features that are not one vector per token of the pairs.

    Raises:
        ValueError: names both shapes.
    """
    if features.dim() != 2 or features.shape[0] != pairs.num_tokens:
        raise ValueError(
            f"features have shape {tuple(features.shape)}, but the pairs were built for "
            f"{pairs.num_tokens} tokens ({pairs.num_frames} frames x {pairs.tokens_per_frame}); "
            "expected [tokens, width]"
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


def working_dtype(features: Tensor) -> torch.dtype:
    """float64 stays; anything narrower is worked on in float32."""
    return torch.float64 if features.dtype == torch.float64 else torch.float32


def inverse_norms(features: Tensor) -> Tensor:
    """[T, 1] reciprocal of each vector's length; 0 for a zero vector."""
    norms = torch.linalg.vector_norm(features, dim=1, keepdim=True, dtype=working_dtype(features))
    return torch.where(norms > 0, 1 / norms, 0.0)


def column_blocks(
    features: Tensor, inverse: Tensor, pairs: PairMatrix, *, both_orders: bool
) -> Iterator[Block]:
    """Walk over the columns of the unit features with their sums over pairs.

    With both_orders, `matched` is M @ unit; without, only the half above the diagonal, at half the
    price, enough for a sum over unordered pairs.
    """
    upper = pairs.upper(pairs.counts, inverse.dtype)
    points = pairs.points.to(torch.float64)[:, None]
    for columns in _column_slices(features):
        unit = features[:, columns] * inverse
        matched = torch.sparse.mm(upper, unit)
        if both_orders:
            matched += torch.sparse.mm(upper.t(), unit)
        in_view = (unit * points).view(pairs.num_frames, -1, unit.shape[1]).sum(dim=1)
        other_views = in_view.sum(dim=0) - in_view
        yield Block(columns, unit, matched, other_views, (in_view * other_views).sum())


def _column_slices(features: Tensor) -> list[slice]:
    step = CPU_COLUMNS if features.device.type == "cpu" else DEVICE_COLUMNS
    return [slice(at, at + step) for at in range(0, features.shape[1], step)]


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
    for columns in _column_slices(features):
        unit = features[:, columns] * inverse
        total += float((torch.sparse.mm(weights, unit) * unit).sum(dtype=torch.float64))
    return total if pairs.voxels else float("nan")
