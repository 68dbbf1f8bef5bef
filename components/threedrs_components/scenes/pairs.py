"""All correspondences of a scene as one sparse matrix between tokens, built in linear time.

Definitions, at both levels. A *point* is a pixel with valid depth (level "pixel", the paper) or a
token with at least one such pixel, at the mean of their coordinates (level "token", as released).
It lies in one voxel and one view, and its feature is that of its token.

- positive pair: two points of the same voxel in different views;
- negative pair: two points of different voxels in different views.

Pairs are unordered; two points of one view are never a pair. With A[v, t] the number of points of
token t in voxel v, M = transpose(A) A without same-view entries counts the positive pairs between
two tokens, and n[s] n[t] - M[s, t] the negative ones, n being the points of a token. Nothing of
size tokens x tokens is formed: M is sparse, and n n' is rank one per pair of views.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from threedrs_components.scenes.geometry import cell_means, cell_numbers
from threedrs_components.scenes.prepare_config import Level
from threedrs_components.scenes.voxels import voxel_indices, voxel_keys

Int64 = NDArray[np.int64]

PAIR_ARRAYS = (
    "pair_rows",
    "pair_columns",
    "pair_values",
    "pair_voxel_weights",
    "pair_points",
    "pair_voxels",
)
"""Names under which pairs are stored; see `PairMatrix.arrays`."""


@dataclass(frozen=True)
class PairMatrix:
    """Cross-view correspondences between the tokens of one scene.

    Tokens are numbered frame by frame: token t belongs to frame t // tokens_per_frame. Only entries
    with frame(row) < frame(column) are held; M is symmetric.
    """

    num_frames: int
    tokens_per_frame: int
    rows: Tensor
    """[E] int64 token"""
    columns: Tensor
    """[E] int64 token, of a later frame"""
    counts: Tensor
    """[E] int64 positive pairs between the two tokens"""
    voxel_weights: Tensor
    """[E] float64: their share when every voxel counts once instead of every pair; sums to 1"""
    points: Tensor
    """[T] int64 points of each token; 0 = no valid depth, so no voxel"""
    voxels: int
    """Voxels that hold at least one positive pair."""
    occupied_voxels: int
    """Voxels that hold at least one point."""

    @property
    def num_tokens(self) -> int:
        """Tokens of the scene, those without a voxel included."""
        return self.num_frames * self.tokens_per_frame

    @property
    def positive_pairs(self) -> int:
        """Exact number of positive pairs."""
        return int(self.counts.sum())

    @property
    def negative_pairs(self) -> int:
        """Exact number of negative pairs."""
        per_frame = [int(count) for count in self.points.view(self.num_frames, -1).sum(dim=1)]
        different_view = (sum(per_frame) ** 2 - sum(count**2 for count in per_frame)) // 2
        return different_view - self.positive_pairs

    def upper(self, values: Tensor, dtype: torch.dtype) -> Tensor:
        """Sparse [T, T] with `values` (counts or voxel_weights) at the entries held."""
        return torch.sparse_coo_tensor(
            torch.stack([self.rows, self.columns]),
            values.to(dtype),
            (self.num_tokens, self.num_tokens),
            is_coalesced=True,
            check_invariants=False,
        )

    def to(self, device: torch.device | str) -> PairMatrix:
        """The same pairs on another device."""
        return replace(
            self,
            rows=self.rows.to(device),
            columns=self.columns.to(device),
            counts=self.counts.to(device),
            voxel_weights=self.voxel_weights.to(device),
            points=self.points.to(device),
        )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Arrays for storage beside the scene; exact: 24 bytes per entry held."""
        return {
            "pair_rows": self.rows.cpu().numpy().astype(np.int32),
            "pair_columns": self.columns.cpu().numpy().astype(np.int32),
            "pair_values": self.counts.cpu().numpy(),
            "pair_voxel_weights": self.voxel_weights.cpu().numpy(),
            "pair_points": self.points.view(self.num_frames, -1).cpu().numpy(),
            "pair_voxels": np.array([self.voxels, self.occupied_voxels], dtype=np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> PairMatrix:
        """Inverse of `arrays`; other keys of the mapping are ignored."""
        points = np.array(arrays["pair_points"], dtype=np.int64)
        voxels, occupied = (int(count) for count in arrays["pair_voxels"])
        return cls(
            num_frames=points.shape[0],
            tokens_per_frame=points.shape[1],
            rows=torch.from_numpy(np.array(arrays["pair_rows"], dtype=np.int64)),
            columns=torch.from_numpy(np.array(arrays["pair_columns"], dtype=np.int64)),
            counts=torch.from_numpy(np.array(arrays["pair_values"], dtype=np.int64)),
            voxel_weights=torch.from_numpy(np.array(arrays["pair_voxel_weights"], np.float64)),
            points=torch.from_numpy(points.reshape(-1)),
            voxels=voxels,
            occupied_voxels=occupied,
        )


def token_pair_matrix(
    points: Tensor, valid: Tensor, *, grid: int, voxel_m: float = 0.1, level: Level = "pixel"
) -> PairMatrix:
    """Find every correspondence of a scene, one frame at a time.

    Coordinates that are already one per token give the level "token" whatever `level` says: a cell
    then has one pixel.

    Args:
        points: [F, h, w, 3] float32 world coordinates in metres, any h and w.
        valid: [F, h, w] bool; a point that is not valid is in no voxel.
        grid: token rows and columns per frame.
        voxel_m: edge of a voxel in metres.
        level: see the module's docstring.

    Raises:
        ValueError: a valid coordinate is not finite or hundreds of kilometres away.
    """
    points, valid = torch.as_tensor(points), torch.as_tensor(valid)
    if level == "token":
        points, cell_counts = cell_means(points, valid, grid, grid)
        valid = cell_counts > 0
    cells = cell_numbers(points.shape[1], points.shape[2], grid)
    frames = [
        _frame_members(points[frame], valid[frame], cells, grid * grid, voxel_m, frame)
        for frame in range(points.shape[0])
    ]
    keys = np.concatenate([keys for keys, _, _ in frames])
    tokens = np.concatenate([tokens for _, tokens, _ in frames])
    counts = np.concatenate([counts for _, _, counts in frames])
    voxel_numbers = np.unique(keys, return_inverse=True)[1]
    shape = (int(voxel_numbers.max(initial=-1)) + 1, points.shape[0] * grid * grid)
    members = sparse.csr_array((counts, (voxel_numbers, tokens)), shape=shape, dtype=np.int64)
    return _pairs_of_members(members, points.shape[0], grid * grid)


def _frame_members(
    points: Tensor, valid: Tensor, cells: Int64, num_cells: int, voxel_m: float, frame: int
) -> tuple[Int64, Int64, Int64]:
    """Voxel keys, tokens and numbers of points of one frame: one entry per (voxel, token) met."""
    located = points[valid]
    if not bool(torch.isfinite(located).all()):
        raise ValueError(f"frame {frame}: a valid pixel has a coordinate that is not finite")
    keys = voxel_keys(voxel_indices(located, voxel_m)).numpy()
    frame_keys, local = np.unique(keys, return_inverse=True)
    entries = local * num_cells + cells[valid.numpy()]
    met, counts = np.unique(entries, return_counts=True)
    return frame_keys[met // num_cells], met % num_cells + frame * num_cells, counts


def _pairs_of_members(
    members: sparse.csr_array, num_frames: int, tokens_per_frame: int
) -> PairMatrix:
    """Multiply out transpose(A) A and keep the entries between a frame and a later one."""
    per_voxel = _pairs_per_voxel(members, num_frames, tokens_per_frame)
    paired = members[per_voxel > 0]
    per_pair = 1 / (per_voxel[per_voxel > 0] * max(1, paired.shape[0]))
    weighted = paired.astype(np.float64)
    weighted.data *= np.repeat(per_pair, np.diff(paired.indptr))
    counted = sparse.coo_array(paired.T @ paired)
    shared = sparse.coo_array(paired.T @ weighted)
    assert np.array_equal(counted.row, shared.row) and np.array_equal(counted.col, shared.col)
    keep = counted.row // tokens_per_frame < counted.col // tokens_per_frame
    order = np.lexsort((counted.col[keep], counted.row[keep]))
    return PairMatrix(
        num_frames=num_frames,
        tokens_per_frame=tokens_per_frame,
        rows=torch.from_numpy(counted.row[keep][order].astype(np.int64)),
        columns=torch.from_numpy(counted.col[keep][order].astype(np.int64)),
        counts=torch.from_numpy(counted.data[keep][order]),
        voxel_weights=torch.from_numpy(shared.data[keep][order]),
        points=torch.from_numpy(np.asarray(members.sum(axis=0), dtype=np.int64)),
        voxels=paired.shape[0],
        occupied_voxels=members.shape[0],
    )


def _pairs_per_voxel(members: sparse.csr_array, num_frames: int, tokens_per_frame: int) -> Int64:
    """[voxels] positive pairs in each: (all points squared - sum over views of theirs) / 2."""
    tokens = np.arange(num_frames * tokens_per_frame)
    views = sparse.csr_array((np.ones(len(tokens), np.int64), (tokens, tokens // tokens_per_frame)))
    by_view = members @ views
    totals = np.asarray(by_view.sum(axis=1), dtype=np.int64)
    same_view = np.asarray(by_view.multiply(by_view).sum(axis=1), dtype=np.int64)
    return np.asarray((totals**2 - same_view) // 2, dtype=np.int64)
