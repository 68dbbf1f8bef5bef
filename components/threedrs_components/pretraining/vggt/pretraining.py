"""Pretraining of a micro VGGT: images in; depth, points and cameras in the room's frame out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from threedrs_components.pretraining.teacher_world import TeacherWorld, camera_centres
from threedrs_components.teachers.vggt.architecture import VGGTArchitecture
from threedrs_components.teachers.vggt.model import VGGT
from threedrs_components.teachers.weights import write_tensors
from threedrs_platform.records import Metric

INITIAL_SCALE = 1.0
"""LayerScale at the start. The released 0.01 is meant for 24 blocks and long training."""
SCENES_PER_CHUNK = 8


class VGGTPretraining:
    """Model, loss and quality of one pretraining."""

    def __init__(self, architecture: VGGTArchitecture, world: TeacherWorld) -> None:
        self.world = world
        self.module = VGGT(architecture, INITIAL_SCALE)

    def loss(self, scenes: Tensor, noise: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Sum of the absolute errors of depth, points and pose.

        `noise` is not used. The heads' confidences stay untrained: plain absolute errors learn as
        much in so few steps.
        """
        found = self.module(self.world.frames(scenes))
        valid = self.world.valid[scenes]
        depth = (self._on_cells(found.depth)[..., 0] - self.world.depth[scenes]).abs()
        points = (self._on_cells(found.points) - self.world.points[scenes]).abs().sum(-1)
        parts = {
            "depth": depth[valid].mean(),
            "points": points[valid].mean(),
            "camera": pose_distance(found.pose, self.world.poses[scenes]),
        }
        return sum(parts.values(), torch.zeros(())), {
            name: float(part.detach()) for name, part in parts.items()
        }

    def quality(self, train: Tensor, held_out: Tensor) -> list[Metric]:
        """Errors on held-out scenes beside those of a guess that knows the training means."""
        depth, points, pose = self._predictions(held_out)
        world, valid, seen = self.world, self.world.valid[held_out], self.world.valid[train]
        centres = camera_centres(world.poses[train]).flatten(0, 1)
        return [
            *_point_metrics(
                points[valid], world.points[held_out][valid], world.points[train][seen].mean(0)
            ),
            _depth_metric(
                depth[valid], world.depth[held_out][valid], world.depth[train][seen].median()
            ),
            _camera_metric(pose, world.poses[held_out], centres.mean(0)),
        ]

    def save(self, out: Path) -> None:
        """Write the weights, and the widths beside them."""
        write_tensors(out / "model.safetensors", self.module)
        widths = {"architecture": self.module.architecture.canonical()}
        (out / "config.json").write_text(json.dumps(widths, indent=2))

    def _predictions(self, scenes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Depth and points on the targets' cells, and poses."""
        depth, points, poses = [], [], []
        with torch.inference_mode():
            for chunk in torch.split(scenes, SCENES_PER_CHUNK):
                found = self.module(self.world.frames(chunk))
                depth.append(self._on_cells(found.depth)[..., 0])
                points.append(self._on_cells(found.points))
                poses.append(found.pose)
        return torch.cat(depth), torch.cat(points), torch.cat(poses)

    def _on_cells(self, values: Tensor) -> Tensor:
        """Average finer predictions (DPT's) [n, F, h, w, channels] to the cells of the targets."""
        cells = (self.world.depth.shape[-2], self.world.depth.shape[-1])
        if values.shape[2:4] == cells:
            return values
        maps = values.flatten(0, 1).permute(0, 3, 1, 2)
        small = F.adaptive_avg_pool2d(maps, cells).permute(0, 2, 3, 1)
        return torch.unflatten(small, 0, values.shape[:2])


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
