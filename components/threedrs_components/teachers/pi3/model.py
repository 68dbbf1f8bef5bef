"""Pi3 as released: the trunk that makes features, and the heads that read its last two blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from threedrs_components.teachers.pi3.architecture import CAMERA, POINT, HeadSizes, TrunkSizes
from threedrs_components.teachers.pi3.layers import CameraHead, HeadDecoder, PatchPixels, Trunk


class Pi3(Trunk):
    """All tensors of the file; `teacher.py` reads and runs them part by part."""

    def __init__(
        self,
        sizes: TrunkSizes,
        point: HeadSizes = POINT,
        camera: HeadSizes = CAMERA,
        scale: float = 0.01,
    ) -> None:
        super().__init__(sizes, scale)
        width, patch = 2 * sizes.encoder.embed_dim, sizes.encoder.patch_size
        self.point_decoder = HeadDecoder(point, width)
        self.point_head = PatchPixels(point.out, 3, patch)
        self.conf_decoder = HeadDecoder(point, width)
        self.conf_head = PatchPixels(point.out, 1, patch)
        self.camera_decoder = HeadDecoder(camera, width)
        self.camera_head = CameraHead(camera.out)


def points_of(raw: Tensor) -> Tensor:
    """[..., 3] of the point head, (x / z, y / z, log z) -> places in the camera's own frame."""
    depth = raw[..., 2:].exp()
    return torch.cat([raw[..., :2] * depth, depth], -1)


def moved(points: Tensor, poses: Tensor) -> Tensor:
    """[B, S, H, W, 3] in each camera's frame, by [B, S, 4, 4] camera to world, into the world."""
    rotation, centre = poses[..., :3, :3], poses[..., :3, 3]
    return torch.einsum("bsij,bshwj->bshwi", rotation, points) + centre[:, :, None, None]
