"""Which tokens of a scene see the same place, from the stored correspondences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from threedrs_components.scenes.pairs import PairMatrix
from threedrs_components.scenes.prepare_config import Level
from threedrs_components.scenes.prepared import PreparedScene, scene_pairs
from threedrs_dashboards.viewer.maps import Float32, Int64


@dataclass(frozen=True)
class Token:
    """One cell of one frame's token grid."""

    frame: int
    row: int
    column: int

    def number(self, grid: int) -> int:
        """Its place among all tokens, frame by frame and row by row."""
        return (self.frame * grid + self.row) * grid + self.column

    @staticmethod
    def numbered(number: int, grid: int) -> Token:
        """Inverse of `number`."""
        return Token(number // (grid * grid), number // grid % grid, number % grid)


class Places:
    """Correspondences of one prepared scene, asked token by token."""

    def __init__(self, scene: PreparedScene) -> None:
        self.grid, self.num_frames = scene.grid, len(scene.frame_names)
        self._pairs = stored_pairs(scene)

    def matches(self, token: int) -> Int64:
        """[F, rows, columns] number of point pairs that share a voxel with this token."""
        pairs = self._pairs
        found = torch.zeros(pairs.num_tokens, dtype=torch.int64)
        forward, backward = pairs.rows == token, pairs.columns == token
        found[pairs.columns[forward]] = pairs.counts[forward]
        found[pairs.rows[backward]] = pairs.counts[backward]
        counted: Int64 = found.numpy().reshape(self.num_frames, self.grid, self.grid)
        return counted

    def links(self) -> Int64:
        """[F, F] number of token pairs that share a voxel, symmetric."""
        per_frame = self.grid * self.grid
        counts = np.zeros((self.num_frames, self.num_frames), dtype=np.int64)
        first = self._pairs.rows.numpy() // per_frame
        second = self._pairs.columns.numpy() // per_frame
        np.add.at(counts, (first, second), 1)
        linked: Int64 = counts + counts.T
        return linked

    def telling_views(self, cameras: Float32 | None) -> tuple[int, int]:
        """Two frames with much in common although their cameras stand far apart.

        Args:
            cameras: [F, 3] positions in metres; None if they are not known.
        """
        links = self.links().astype(np.float64)
        if cameras is not None:
            links *= np.linalg.norm(cameras[:, None] - cameras[None], axis=-1)
        if not links.any():
            return 0, min(1, self.num_frames - 1)
        first, second = np.unravel_index(int(links.argmax()), links.shape)
        return int(min(first, second)), int(max(first, second))

    def telling_token(self, first: int, second: int) -> Token:
        """The token of one frame that shares most points with another frame."""
        per_frame = self.grid * self.grid
        pairs, shared = self._pairs, np.zeros(per_frame, dtype=np.int64)
        rows, columns = pairs.rows.numpy(), pairs.columns.numpy()
        for own, other in ((rows, columns), (columns, rows)):
            between = (own // per_frame == first) & (other // per_frame == second)
            np.add.at(shared, own[between] % per_frame, pairs.counts.numpy()[between])
        middle = (self.grid // 2) * self.grid + self.grid // 2
        best = int(shared.argmax()) if shared.any() else middle
        return Token.numbered(first * per_frame + best, self.grid)


def stored_pairs(scene: PreparedScene) -> PairMatrix:
    """Pairs of pixels as prepared, or of tokens for a scene that came without pixels."""
    level: Level = "token" if scene.pairs is None else "pixel"
    return scene_pairs(scene, level=level, voxel_m=scene.voxel_m)
