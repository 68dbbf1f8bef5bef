"""Pretraining of a micro VGGT: images in; depth, points and cameras in the room's frame out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from threedrs_components.teachers.config import VGGTConfig
from threedrs_components.teachers.teacher_world import TeacherWorld, camera_centres
from threedrs_components.teachers.vggt import VGGT, Geometry
from threedrs_components.teachers.weights import write_tensors
from threedrs_platform.records import Metric

INITIAL_SCALE = 1.0
"""LayerScale at the start. The released 0.01 is meant for 24 blocks and long training."""
SCENES_PER_CHUNK = 8


def target_cells(config: VGGTConfig) -> int:
    """Side of the grid that depth and points are supervised on."""
    shape = config.architecture
    return shape.image_size // shape.patch_size * shape.cells_per_patch


class VGGTPretraining:
    """Model, loss and quality of one pretraining."""

    def __init__(self, config: VGGTConfig, world: TeacherWorld) -> None:
        self.config, self.world = config, world
        self.module = VGGT(config.architecture, INITIAL_SCALE)

    def loss(self, scenes: Tensor, noise: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Sum of the absolute errors of depth, points and pose; `noise` is not used."""
        found = self._on_cells(self.module(self.world.frames(scenes)))
        valid = self.world.valid[scenes]
        depth = (found.depth[..., 0] - self.world.depth[scenes]).abs()[valid].mean()
        points = (found.points - self.world.points[scenes]).abs().sum(-1)[valid].mean()
        camera = pose_distance(found.pose, self.world.poses[scenes])
        parts = {"depth": depth, "points": points, "camera": camera}
        return depth + points + camera, {name: float(part.detach()) for name, part in parts.items()}

    def quality(self, train: Tensor, held_out: Tensor) -> list[Metric]:
        """Errors on held-out scenes beside those of a guess that knows the training means."""
        with torch.inference_mode():
            found = [
                self._on_cells(self.module(self.world.frames(chunk)))
                for chunk in torch.split(held_out, SCENES_PER_CHUNK)
            ]
        valid = self.world.valid[held_out]
        points, depth = self.world.points[held_out][valid], self.world.depth[held_out][valid]
        seen = self.world.valid[train]
        return [
            *_point_metrics(
                torch.cat([g.points for g in found])[valid],
                points,
                self.world.points[train][seen].mean(0),
            ),
            _depth_metric(
                torch.cat([g.depth[..., 0] for g in found])[valid],
                depth,
                self.world.depth[train][seen].median(),
            ),
            _camera_metric(
                torch.cat([g.pose for g in found]),
                self.world.poses[held_out],
                camera_centres(self.world.poses[train]).flatten(0, 1).mean(0),
            ),
        ]

    def save(self, out: Path) -> None:
        """Write the weights, and the widths beside them."""
        write_tensors(out / "model.safetensors", self.module)
        (out / "config.json").write_text(json.dumps(self.config.canonical(), indent=2))

    def _on_cells(self, found: Geometry) -> Geometry:
        """Average finer predictions (DPT's) to the grid of the targets."""
        rows, columns = self.world.depth.shape[-2:]
        if found.depth.shape[2:4] == (rows, columns):
            return found

        def pooled(x: Tensor) -> Tensor:
            maps = x.flatten(0, 1).permute(0, 3, 1, 2)
            small = F.adaptive_avg_pool2d(maps, (rows, columns)).permute(0, 2, 3, 1)
            return torch.unflatten(small, 0, x.shape[:2])

        return Geometry(
            found.pose,
            pooled(found.depth),
            pooled(found.depth_confidence.unsqueeze(-1))[..., 0],
            pooled(found.points),
            pooled(found.points_confidence.unsqueeze(-1))[..., 0],
        )


def pose_distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute difference of translation, rotation (either sign) and field of view."""
    translation = (found[..., :3] - wanted[..., :3]).abs().sum(-1)
    straight = (found[..., 3:7] - wanted[..., 3:7]).abs().sum(-1)
    flipped = (found[..., 3:7] + wanted[..., 3:7]).abs().sum(-1)
    view = (found[..., 7:] - wanted[..., 7:]).abs().sum(-1)
    return (translation + torch.minimum(straight, flipped) + view).mean()


def _point_metrics(found: Tensor, wanted: Tensor, guess: Tensor) -> Iterable[Metric]:
    error, trivial = (found - wanted).norm(dim=-1), (guess - wanted).norm(dim=-1)
    number = len(wanted)
    yield Metric("teacher/point_error", float(error.mean()), number, "m", float(trivial.mean()))
    unexplained = (found - wanted).square().sum(0) / (wanted - wanted.mean(0)).square().sum(0)
    for axis, share in zip("xyz", unexplained, strict=True):
        yield Metric(f"teacher/r2_{axis}", float(1 - share), number, "R2", 0.0)


def _depth_metric(found: Tensor, wanted: Tensor, guess: Tensor) -> Metric:
    error, trivial = ((x - wanted).abs() / wanted for x in (found, guess))
    return Metric(
        "teacher/depth_abs_rel", float(error.mean()), len(wanted), "ratio", float(trivial.mean())
    )


def _camera_metric(found: Tensor, wanted: Tensor, guess: Tensor) -> Metric:
    centres = camera_centres(wanted)
    error, trivial = ((x - centres).norm(dim=-1) for x in (camera_centres(found), guess))
    return Metric(
        "teacher/camera_error", float(error.mean()), error.numel(), "m", float(trivial.mean())
    )
