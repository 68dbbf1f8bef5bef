"""The scenes a teacher is pretrained on, read once into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from threedrs_components.scenes.frames import resize_images
from threedrs_components.scenes.geometry import cell_means, world_coordinates
from threedrs_components.scenes.rgbd_folder import RGBDFolder
from threedrs_platform.errors import DataError
from threedrs_platform.records import Float32, Scene


@dataclass(frozen=True)
class TeacherWorld:
    """N scenes of F frames each; targets are means over the cells of a coarse picture grid."""

    scene_ids: tuple[str, ...]
    images: Tensor
    """[N, F, 3, H, W] uint8"""
    depth: Tensor
    """[N, F, rows, columns] metres"""
    points: Tensor
    """[N, F, rows, columns, 3] metres, in the room's frame"""
    valid: Tensor
    """[N, F, rows, columns] bool: the cell has a pixel of valid depth"""
    poses: Tensor
    """[N, F, 9] room to camera: translation, quaternion xyzw, vertical and horizontal view"""

    def frames(self, scenes: Tensor) -> Tensor:
        """[n] scene indices -> [n, F, 3, H, W] float32 in [0, 1]."""
        return self.images[scenes].float() / 255


def read_world(
    root: Path,
    scene_ids: Sequence[str],
    image_size: int,
    cells: int,
    progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> TeacherWorld:
    """Read scenes of a world's folder.

    Args:
        root: a folder of posed RGB-D scenes.
        scene_ids: which of them.
        image_size: side that frames are squashed to.
        cells: rows and columns of the target grid.

    Raises:
        SceneError: a scene is unusable.
        DataError: scenes differ in their number of frames.
    """
    source = RGBDFolder(root)
    parts = []
    for done, scene_id in enumerate(scene_ids, 1):
        parts.append(_targets(source.load(scene_id), image_size, cells))
        progress(done, len(scene_ids), "reading scenes")
    counts = {part[0].shape[0] for part in parts}
    if len(counts) != 1:
        raise DataError(f"{root}: scenes have {sorted(counts)} frames; all need the same number")
    return TeacherWorld(
        tuple(scene_ids), *(torch.stack(column) for column in zip(*parts, strict=True))
    )


def _targets(scene: Scene, image_size: int, cells: int) -> tuple[Tensor, ...]:
    depth = torch.from_numpy(scene.depth)
    pose, alignment = (
        torch.from_numpy(scene.camera_to_world),
        torch.from_numpy(scene.axis_alignment),
    )
    intrinsics = torch.from_numpy(scene.depth_intrinsics)
    points, valid = world_coordinates(depth, intrinsics, pose, alignment)
    means, counts = cell_means(torch.cat([points, depth.unsqueeze(-1)], -1), valid, cells, cells)
    images = np.ascontiguousarray(resize_images(scene.images, image_size, image_size))
    return (
        torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        means[..., 3],
        means[..., :3],
        counts > 0,
        torch.from_numpy(pose_encoding(scene)),
    )


def pose_encoding(scene: Scene) -> Float32:
    """[F, 9] of a scene's cameras: aligned world to camera, and the field of view in radians."""
    to_room = scene.axis_alignment.astype(np.float64) @ scene.camera_to_world.astype(np.float64)
    to_camera = np.linalg.inv(to_room)
    height, width = scene.images.shape[1:3]
    focal_x, focal_y = scene.color_intrinsics[0, 0], scene.color_intrinsics[1, 1]
    view = 2 * np.arctan([height / (2 * focal_y), width / (2 * focal_x)])
    parts = [
        to_camera[:, :3, 3],
        Rotation.from_matrix(to_camera[:, :3, :3]).as_quat(),
        np.broadcast_to(view, (len(to_camera), 2)),
    ]
    return np.concatenate(parts, 1).astype(np.float32)


def camera_centres(poses: Tensor) -> Tensor:
    """[..., 9] pose encodings -> [..., 3] places of the cameras in the room."""
    translation, quaternion = poses[..., :3], poses[..., 3:7]
    unit = quaternion / quaternion.norm(dim=-1, keepdim=True).clamp(min=1e-8)
    axis, scalar = -unit[..., :3], unit[..., 3:]
    twice = 2 * torch.cross(axis, translation, dim=-1)
    turned: Tensor = translation + scalar * twice + torch.cross(axis, twice, dim=-1)
    return -turned
