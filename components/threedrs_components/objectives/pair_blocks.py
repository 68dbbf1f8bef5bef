"""Sums over all pairs of a scene's tokens, some feature columns at a time: exact, linear in tokens.

The correspondence loss and the correspondence score both read these sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from threedrs_components.scenes.pairs import PairMatrix

CPU_COLUMNS, DEVICE_COLUMNS = 128, 1024
"""Feature columns in work at a time: what fits a processor's cache, and few enough launches."""


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
    for columns in column_slices(features):
        unit = features[:, columns] * inverse
        matched = torch.sparse.mm(upper, unit)
        if both_orders:
            matched += torch.sparse.mm(upper.t(), unit)
        in_view = (unit * points).view(pairs.num_frames, -1, unit.shape[1]).sum(dim=1)
        other_views = in_view.sum(dim=0) - in_view
        yield Block(columns, unit, matched, other_views, (in_view * other_views).sum())


def column_slices(features: Tensor) -> list[slice]:
    """Feature columns, as many at a time as suit the device."""
    step = CPU_COLUMNS if features.device.type == "cpu" else DEVICE_COLUMNS
    return [slice(at, at + step) for at in range(0, features.shape[1], step)]
