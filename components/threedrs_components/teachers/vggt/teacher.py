"""VGGT as a teacher: features of its aggregator, and cameras, depth and points on request."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from threedrs_components.teachers.pixels import FrameSize, in_patches
from threedrs_components.teachers.poses import intrinsics_of, matrices_of
from threedrs_components.teachers.teacher import (
    FrameTeacher,
    TeacherCard,
    check_precision,
    file_digest,
    layer_index,
)
from threedrs_components.teachers.vggt.architecture import VGGTArchitecture
from threedrs_components.teachers.vggt.checkpoint import (
    AGGREGATOR,
    CAMERA_HEAD,
    DENSE_HEADS,
    PARTS,
    architecture_of,
    with_camera_head,
    with_dense_head,
)
from threedrs_components.teachers.vggt.heads import CameraHead, DenseOutput
from threedrs_components.teachers.vggt.layers import FRAMES_PER_CHUNK, Aggregator
from threedrs_components.teachers.vggt.model import dense_head
from threedrs_components.teachers.weights import (
    find_weights,
    load_strictly,
    read_tensors,
    refuse_strangers,
)
from threedrs_platform.errors import CheckpointError

if TYPE_CHECKING:
    from threedrs_components.teachers.vggt.config import VGGTConfig


class Cameras(NamedTuple):
    """Cameras of B scenes of S frames, in the frame of each scene's first camera."""

    pose_encoding: Tensor
    """[B, S, 9]: translation, quaternion xyzw, vertical and horizontal field of view"""
    extrinsics: Tensor
    """[B, S, 3, 4] world to camera, OpenCV axes"""
    intrinsics: Tensor
    """[B, S, 3, 3] in pixels of the images given"""


class Depth(NamedTuple):
    """Depth along the optical axis."""

    depth: Tensor
    """[B, S, H, W, 1]"""
    confidence: Tensor
    """[B, S, H, W] above 1"""


class Points(NamedTuple):
    """Places of pixels in the frame of the first camera."""

    points: Tensor
    """[B, S, H, W, 3]"""
    confidence: Tensor
    """[B, S, H, W] above 1"""


class VGGTTeacher(FrameTeacher):
    """Reads one aggregator layer: [frame half, global half] of every patch token.

    Only the aggregator is loaded; a head is read from the checkpoint when it is first asked for.
    """

    frame_size: FrameSize

    def __init__(
        self,
        aggregator: Aggregator,
        architecture: VGGTArchitecture,
        config: VGGTConfig,
        digest: str,
    ) -> None:
        self.aggregator = aggregator.eval().requires_grad_(False)
        self.architecture, self.config = architecture, config
        self.layer = layer_index(config.kind, config.layer, architecture.depth)
        side, patch = architecture.image_size, architecture.patch_size
        self.frame_size = FrameSize(side, side, patch, config.framing)
        self.grid = side // patch
        self._heads: dict[str, nn.Module] = {}
        self.card = TeacherCard(
            config.kind,
            digest,
            config.licence,
            f"{self.frame_size}; {config.precision}",
            self.layer,
            f"frame and global half of aggregator block {self.layer}",
        )

    @classmethod
    def load(cls, config: VGGTConfig, device: str = "cpu") -> VGGTTeacher:
        """Build the aggregator that the checkpoint's own shapes describe, and fill it.

        Raises:
            CheckpointError: no checkpoint is named, or it does not fit.
            ConfigError: bfloat16 is asked of a CPU.
        """
        check_precision(config.precision, device)
        if config.checkpoint is None:
            raise CheckpointError("teacher vggt has no weights: set `checkpoint`")
        path = find_weights(config.checkpoint)
        tensors = read_tensors(path, (AGGREGATOR,))
        architecture = architecture_of(path, tensors)
        refuse_strangers(path, PARTS)
        with torch.device("meta"):
            aggregator = Aggregator(architecture)
        load_strictly(aggregator, tensors, path, AGGREGATOR)
        return cls(aggregator.to(device), architecture, config, file_digest(path))

    @torch.inference_mode()
    def frame_features(self, images: Tensor) -> Tensor:
        """[F, 3, H, W] in [0, 1] -> [F, rows, columns, 2 * C] float32; all frames are one scene."""
        frames = self.frame_size(images)
        tokens = self._aggregated(frames.unsqueeze(0), {self.layer})[self.layer]
        patches = tokens[0, :, self.aggregator.patch_start :]
        return torch.unflatten(patches, 1, (frames.shape[-2] // self.aggregator.patch_size, -1))

    @torch.inference_mode()
    def tokens(self, images: Tensor) -> list[Tensor]:
        """Tokens of every aggregator block.

        Args:
            images: [B, S, 3, H, W] in [0, 1], sides multiples of the patch size; a scene's first
                frame is its reference.

        Returns:
            Per block [B, S, 1 camera + R registers + rows * columns, 2 * C] float32.
        """
        kept = self._aggregated(images, set(range(self.architecture.depth)))
        return [kept[layer] for layer in sorted(kept)]

    @torch.inference_mode()
    def cameras(self, images: Tensor) -> Cameras:
        """Cameras of frames; `images` as for `tokens`."""
        head, last = self._camera_head(), self.architecture.depth - 1
        pose = head(self._aggregated(images, {last})[last])
        height, width = images.shape[-2:]
        return Cameras(pose, matrices_of(pose), intrinsics_of(pose, height, width))

    @torch.inference_mode()
    def depth(self, images: Tensor) -> Depth:
        """Depth of frames; `images` as for `tokens`. A micro "cells" head gives its coarse grid."""
        return Depth(*self._dense("depth_head.", images))

    @torch.inference_mode()
    def depth_maps(self, images: Tensor) -> Tensor:
        """[F, 3, H, W] in [0, 1] -> [F, h, w, 2]: depth, and the logarithm of its confidence."""
        found = self.depth(self.frame_size(images).unsqueeze(0))
        return torch.stack([found.depth[0, ..., 0], found.confidence[0].log()], -1)

    @torch.inference_mode()
    def points(self, images: Tensor) -> Points:
        """Places of pixels; `images` as for `tokens`. A "cells" head gives its coarse grid."""
        return Points(*self._dense("point_head.", images))

    def _aggregated(self, images: Tensor, layers: set[int]) -> dict[int, Tensor]:
        images = in_patches(images, self.architecture.patch_size)
        device, precision = self.aggregator.camera_token.device, self.config.precision
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            kept = self.aggregator(images.to(device), layers)
        return {layer: tokens.float() for layer, tokens in kept.items()}

    def _dense(self, prefix: str, images: Tensor) -> tuple[Tensor, Tensor]:
        head = self._dense_head(prefix)
        features = self._aggregated(images, set(head.layers))
        size, start = (images.shape[-2], images.shape[-1]), self.aggregator.patch_start
        chunks = [
            head(dict(zip(features, parts, strict=True)), start, size, self.architecture.patch_size)
            for parts in zip(
                *(torch.split(x, FRAMES_PER_CHUNK, 1) for x in features.values()), strict=True
            )
        ]
        value, confidence = (torch.cat(part, 1) for part in zip(*chunks, strict=True))
        return value, confidence

    def _camera_head(self) -> CameraHead:
        if CAMERA_HEAD not in self._heads:
            path = find_weights(str(self.config.checkpoint))
            tensors = read_tensors(path, (CAMERA_HEAD,))
            with torch.device("meta"):
                head = CameraHead(with_camera_head(path, tensors, self.architecture))
            load_strictly(head, tensors, path, CAMERA_HEAD)
            self._heads[CAMERA_HEAD] = self._ready(head)
        found = self._heads[CAMERA_HEAD]
        assert isinstance(found, CameraHead)
        return found

    def _dense_head(self, prefix: str) -> DenseOutput:
        if prefix not in self._heads:
            path = find_weights(str(self.config.checkpoint))
            tensors = read_tensors(path, (prefix,))
            architecture = with_dense_head(path, tensors, self.architecture, prefix)
            with torch.device("meta"):
                head = dense_head(architecture, DENSE_HEADS[prefix])
            load_strictly(head, tensors, path, prefix)
            self._heads[prefix] = self._ready(head)
        found = self._heads[prefix]
        assert isinstance(found, DenseOutput)
        return found

    def _ready(self, head: nn.Module) -> nn.Module:
        return head.eval().requires_grad_(False).to(self.aggregator.camera_token.device)
