"""Depth Anything 3 as a teacher: features of its trunk; depth, rays and cameras on request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from threedrs_components.teachers.da3.architecture import DenseSizes, licence_of
from threedrs_components.teachers.da3.checkpoint import (
    CAMERAS,
    HEAD,
    PARTS,
    TRUNK,
    architecture_of,
    dense_sizes,
    head_layers,
    with_shared_norm,
)
from threedrs_components.teachers.da3.heads import CameraDecoder, DualDPT
from threedrs_components.teachers.da3.trunk import Level, Trunk
from threedrs_components.teachers.pixels import FrameSize, in_patches
from threedrs_components.teachers.poses import intrinsics_of, inverted, matrices_of
from threedrs_components.teachers.teacher import (
    FrameTeacher,
    TeacherCard,
    check_image_size,
    check_precision,
    file_digest,
    layer_index,
)
from threedrs_components.teachers.weights import (
    find_weights,
    load_strictly,
    read_tensors,
    refuse_strangers,
)

if TYPE_CHECKING:
    from threedrs_components.teachers.da3.config import DA3Config

FRAMES_PER_CHUNK = 8
"""Frames that the dense head sees at once; it treats each alone."""
LEAST_TANGENT = 1e-6
"""Of half a field of view, as in the released code."""


class Cameras(NamedTuple):
    """Cameras of B scenes of S frames, in the frame of each scene's reference view."""

    pose_encoding: Tensor
    """[B, S, 9] camera to world: translation, quaternion xyzw, vertical and horizontal field of
    view"""
    extrinsics: Tensor
    """[B, S, 3, 4] world to camera, OpenCV axes"""
    intrinsics: Tensor
    """[B, S, 3, 3] in pixels of the images given"""
    reference: Tensor
    """[B] index of the reference view"""


class Depth(NamedTuple):
    """Depth along the optical axis, up to one factor per scene."""

    depth: Tensor
    """[B, S, H, W]"""
    confidence: Tensor
    """[B, S, H, W] above 1"""


class Rays(NamedTuple):
    """Where pixels look, in the frame of the reference view: a pixel's place is its ray's centre
    plus its depth times the direction."""

    rays: Tensor
    """[B, S, 8 * rows, 8 * columns, 6]: direction, of depth 1 and not of length 1; then centre"""
    confidence: Tensor
    """[B, S, 8 * rows, 8 * columns] above 1"""


class DA3Teacher(FrameTeacher):
    """Reads one block: [local half, normalised global half] of every patch token.

    Only the trunk is loaded; a head is read from the checkpoint when it is first asked for.
    """

    frame_size: FrameSize

    def __init__(self, trunk: Trunk, config: DA3Config, path: Path, digest: str) -> None:
        self.trunk = trunk.eval().requires_grad_(False)
        self.architecture, self.config, self.path = trunk.architecture, config, path
        self.layer = layer_index(config.kind, config.layer, self.architecture.depth)
        side, patch = config.image_size, self.architecture.patch_size
        check_image_size(side, patch)
        self.frame_size = FrameSize(side, side, patch, config.framing)
        self.grid = side // patch
        self._head: tuple[DualDPT, DenseSizes] | None = None
        self._cameras: CameraDecoder | None = None
        halves = "local half and normalised global half"
        self.card = TeacherCard(
            config.kind,
            digest,
            config.licence or licence_of(self.architecture.embed_dim),
            f"{self.frame_size}; {config.precision}; reference view: {config.reference}",
            self.layer,
            f"{halves if config.half == 'both' else 'normalised global half'} of block "
            f"{self.layer}",
        )

    @classmethod
    def load(cls, config: DA3Config, device: str = "cpu") -> DA3Teacher:
        """Build the trunk that the checkpoint's own shapes describe, and fill it.

        Raises:
            CheckpointError: the checkpoint is missing or does not fit.
            ConfigError: an image size or a precision that the model or device cannot do.
        """
        check_precision(config.precision, device)
        path = find_weights(config.checkpoint)
        tensors = read_tensors(path, ("",))
        architecture = architecture_of(path, tensors)
        refuse_strangers(path, PARTS)
        with torch.device("meta"):
            trunk = Trunk(architecture)
        of_trunk = {name: each for name, each in tensors.items() if name.startswith(TRUNK)}
        load_strictly(trunk, of_trunk, path, TRUNK)
        return cls(trunk.to(device), config, path, file_digest(path))

    @torch.inference_mode()
    def frame_features(self, images: Tensor) -> Tensor:
        """[F, 3, H, W] in [0, 1] -> [F, rows, columns, 2 * C] float32; all frames are one scene.

        C channels with `half: global`.
        """
        frames = self.frame_size(images)
        levels, _ = self._levels(frames.unsqueeze(0), {self.layer})
        patches = levels[self.layer].patches[0]
        if self.config.half == "global":
            patches = patches[..., self.architecture.embed_dim :]
        return torch.unflatten(patches, 1, (frames.shape[-2] // self.architecture.patch_size, -1))

    @torch.inference_mode()
    def tokens(self, images: Tensor) -> list[Tensor]:
        """Patch tokens of every block.

        Args:
            images: [B, S, 3, H, W] in [0, 1], sides multiples of the patch size.

        Returns:
            Per block [B, S, rows * columns, 2 * C] float32.
        """
        levels, _ = self._levels(images, range(self.architecture.depth))
        return [levels[layer].patches for layer in sorted(levels)]

    @torch.inference_mode()
    def cameras(self, images: Tensor) -> Cameras:
        """Cameras of frames; `images` as for `tokens`."""
        decoder, last = self._camera_decoder(), head_layers(self.path, self.architecture.depth)[-1]
        levels, reference = self._levels(images, {last})
        pose = decoder(levels[last].camera)
        height, width = images.shape[-2:]
        return Cameras(
            pose,
            inverted(matrices_of(pose)),
            intrinsics_of(pose, height, width, LEAST_TANGENT),
            reference,
        )

    @torch.inference_mode()
    def depth(self, images: Tensor) -> Depth:
        """Depth of frames; `images` as for `tokens`."""
        head, dense = self._dense_head()
        return Depth(*self._dense(head.depth, dense, images))

    @torch.inference_mode()
    def depth_maps(self, images: Tensor) -> Tensor:
        """[F, 3, H, W] in [0, 1] -> [F, h, w, 2]: depth, and the logarithm of its confidence."""
        found = self.depth(self.frame_size(images).unsqueeze(0))
        return torch.stack([found.depth[0], found.confidence[0].log()], -1)

    @torch.inference_mode()
    def rays(self, images: Tensor) -> Rays:
        """Rays of frames; `images` as for `tokens`."""
        head, dense = self._dense_head()
        return Rays(*self._dense(head.rays, dense, images))

    def _levels(self, images: Tensor, layers: Iterable[int]) -> tuple[dict[int, Level], Tensor]:
        images = in_patches(images, self.architecture.patch_size)
        device, precision = self.trunk.cls_token.device, self.config.precision
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            found: tuple[dict[int, Level], Tensor] = self.trunk(
                images.to(device), layers, self.config.reference
            )
        return found

    def _dense(
        self,
        branch: Callable[[list[Tensor], tuple[int, int]], tuple[Tensor, Tensor]],
        dense: DenseSizes,
        images: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """One branch of the head, a few frames at a time."""
        levels, _ = self._levels(images, dense.layers)
        layers = [levels[layer].patches.flatten(0, 1) for layer in dense.layers]
        size = (images.shape[-2], images.shape[-1])
        chunks = zip(*(torch.split(each, FRAMES_PER_CHUNK) for each in layers), strict=True)
        parts = zip(*(branch(list(chunk), size) for chunk in chunks), strict=True)
        scenes = images.shape[:2]
        value, confidence = (torch.unflatten(torch.cat(part), 0, scenes) for part in parts)
        return value, confidence

    def _dense_head(self) -> tuple[DualDPT, DenseSizes]:
        if self._head is None:
            tensors = with_shared_norm(read_tensors(self.path, (HEAD,)))
            sizes = dense_sizes(self.path, tensors, self.architecture.depth)
            with torch.device("meta"):
                head = DualDPT(self.architecture, sizes)
            load_strictly(head, tensors, self.path, HEAD)
            self._ready(head)
            self._head = head, sizes
        return self._head

    def _camera_decoder(self) -> CameraDecoder:
        if self._cameras is None:
            with torch.device("meta"):
                decoder = CameraDecoder(self.architecture)
            load_strictly(decoder, read_tensors(self.path, (CAMERAS,)), self.path, CAMERAS)
            self._ready(decoder)
            self._cameras = decoder
        return self._cameras

    def _ready(self, head: nn.Module) -> None:
        head.eval().requires_grad_(False).to(self.trunk.cls_token.device)
