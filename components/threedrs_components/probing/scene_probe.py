"""Correspondence score of any model on any posed RGB-D scene."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from threedrs_components.probing.correspondence import CorrespondenceScore, correspondence_score
from threedrs_components.scenes.frames import kept_frames
from threedrs_components.scenes.pairs import token_pair_matrix
from threedrs_components.scenes.prepare_config import Level
from threedrs_components.scenes.prepared import scene_points
from threedrs_platform.errors import SceneError
from threedrs_platform.records import Scene

PAPER_GRID = 14
"""Token rows and columns of the paper's students."""
COUNTS = ("pairs", "voxels", "frames", "tokens")
MEANS = tuple(
    field.name for field in dataclasses.fields(CorrespondenceScore) if field.name not in COUNTS
)
SceneFeatures = Callable[[Scene], Tensor]
"""A scene to features [F, rows, columns, C] of its frames."""


@dataclass(frozen=True)
class SceneProbe:
    """What the probe of one scene found."""

    scene: str
    score: CorrespondenceScore
    grid: int
    """Token rows and columns per frame at which the features were scored."""
    seconds: float
    """Wall time, the model's included, reading the files not."""


@dataclass(frozen=True)
class TotalProbe:
    """Scores of several scenes: means over the scenes that have pairs, sums of all counts."""

    scenes: int
    scenes_with_pairs: int
    score: CorrespondenceScore
    seconds: float


def probe_scene(
    scene: Scene,
    features_of: SceneFeatures,
    *,
    grid: int | None = None,
    voxel_m: float = 0.1,
    level: Level = "pixel",
) -> SceneProbe:
    """Run a model on a scene and score its features.

    Args:
        scene: any number of frames; a frame that occurs twice is used once.
        features_of: the model; a finer grid than `grid` is averaged to it.
        grid: token rows and columns per frame; None for the paper's 14, or the model's own if
            that is coarser.
        voxel_m: edge of a voxel in metres.
        level: see `threedrs_components.scenes.pairs`.

    Raises:
        SceneError: the scene has no usable geometry.
        ValueError: the model's grid is coarser than `grid`.
    """
    start = time.perf_counter()
    scene = distinct_frames(scene)
    features = features_of(scene)
    if grid is None:
        grid = min(PAPER_GRID, *features.shape[1:3])
    tokens = pooled_to_grid(features, grid).flatten(0, 2)
    points, valid = scene_points(scene)
    try:
        pairs = token_pair_matrix(points, valid, grid=grid, voxel_m=voxel_m, level=level)
    except ValueError as error:
        raise SceneError(scene.scene_id, str(error)) from error
    score = correspondence_score(tokens, pairs.to(tokens.device))
    return SceneProbe(scene.scene_id, score, grid, time.perf_counter() - start)


def pooled_to_grid(features: Tensor, grid: int) -> Tensor:
    """[F, rows, columns, C] averaged to [F, grid, grid, C] float32.

    Raises:
        ValueError: the features are coarser than the grid.
    """
    rows, columns = features.shape[1:3]
    if min(rows, columns) < grid:
        raise ValueError(
            f"the model gives {rows} x {columns} features per frame, too few for a grid of {grid}; "
            f"use a grid of {min(rows, columns)} or less"
        )
    maps = features.float().permute(0, 3, 1, 2)
    return adaptive_avg_pool2d(maps, grid).permute(0, 2, 3, 1)


def distinct_frames(scene: Scene) -> Scene:
    """Drop repeated frames: a frame always agrees with itself, which is no correspondence."""
    first = sorted({name: at for at, name in reversed([*enumerate(scene.frame_names)])}.values())
    if len(first) == len(scene.frame_names):
        return scene
    return kept_frames(scene, first)


def total_probe(probes: Sequence[SceneProbe]) -> TotalProbe:
    """Each scene counts once, as in the paper's mean over sequences; NaN without any pairs."""
    scored = [probe.score for probe in probes if probe.score.pairs]

    def mean(name: str) -> float:
        return sum(getattr(score, name) for score in scored) / len(scored) if scored else math.nan

    def total(name: str) -> int:
        return sum(getattr(probe.score, name) for probe in probes)

    score = CorrespondenceScore(
        **{name: mean(name) for name in MEANS},
        pairs=total("pairs"),
        voxels=total("voxels"),
        frames=total("frames"),
        tokens=total("tokens"),
    )
    seconds = sum(probe.seconds for probe in probes)
    return TotalProbe(len(probes), len(scored), score, seconds)
