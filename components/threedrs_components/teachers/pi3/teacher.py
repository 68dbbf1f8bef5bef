"""Pi3 as a teacher: features of its decoder, and cameras and points on request."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from threedrs_components.teachers.pi3.architecture import PAIRS, HeadSizes
from threedrs_components.teachers.pi3.checkpoint import PARTS, TRUNK, head_sizes, trunk_sizes
from threedrs_components.teachers.pi3.framing import PixelLimit
from threedrs_components.teachers.pi3.layers import (
    CameraHead,
    HeadDecoder,
    PatchPixels,
    Trunk,
    rotation_of,
)
from threedrs_components.teachers.pi3.model import moved, points_of
from threedrs_components.teachers.pixels import in_patches
from threedrs_components.teachers.teacher import (
    FrameTeacher,
    TeacherCard,
    check_precision,
    file_digest,
    layer_index,
)
from threedrs_components.teachers.vggt.layers import FRAMES_PER_CHUNK
from threedrs_components.teachers.weights import (
    find_weights,
    load_strictly,
    read_tensors,
    refuse_strangers,
)
from threedrs_platform.errors import ConfigError, Fault

if TYPE_CHECKING:
    from threedrs_components.teachers.pi3.config import Pi3Config

CHANNELS = {"point": 3, "conf": 1}
"""Of the heads that give a value per pixel."""


class Cameras(NamedTuple):
    """Cameras of B scenes of S frames; the world's axes, place and scale are the scene's own."""

    camera_to_world: Tensor
    """[B, S, 4, 4], OpenCV axes"""


class Points(NamedTuple):
    """Places of pixels, of an arbitrary scale per scene."""

    points: Tensor
    """[B, S, H, W, 3] in the world of `cameras`"""
    local_points: Tensor
    """[B, S, H, W, 3] in each frame's own camera; the last number is depth"""
    confidence: Tensor
    """[B, S, H, W] logits"""


class Pi3Teacher(FrameTeacher):
    """Reads one pair of decoder blocks: [inside the frame, over all frames] of every patch token.

    Only encoder and decoder are loaded; a head is read from the checkpoint when it is first asked
    for.
    """

    frame_size: PixelLimit

    def __init__(self, trunk: Trunk, config: Pi3Config, path: Path, digest: str) -> None:
        self.trunk = trunk.eval().requires_grad_(False)
        self.config, self.path = config, path
        self.patch, self.specials = trunk.sizes.encoder.patch_size, trunk.sizes.registers
        self.layer = layer_index(config.kind, config.layer, trunk.sizes.depth // 2, PAIRS)
        self._heads: dict[str, tuple[HeadDecoder, nn.Module]] = {}
        if config.pixels < self.patch**2:
            complaint = f"{config.pixels} are less than a patch, which has {self.patch**2}"
            raise ConfigError([Fault(complaint, "teacher.pixels")])
        self.frame_size = PixelLimit.of(config.pixels, self.patch, config.framing)
        self.grid = self.frame_size.width // self.patch
        if config.framing == "aspect":
            self.grid = self.frame_size.patches(3, 4)[1]
        first, second = 2 * self.layer, 2 * self.layer + 1
        self.card = TeacherCard(
            config.kind,
            digest,
            config.licence,
            f"{self.frame_size}; {config.precision}",
            self.layer,
            f"decoder blocks {first} (frame) and {second} (all frames), raw",
        )

    @classmethod
    def load(cls, config: Pi3Config, device: str = "cpu") -> Pi3Teacher:
        """Build the trunk that the checkpoint's own shapes describe, and fill it.

        Raises:
            CheckpointError: the checkpoint is missing or does not fit.
            ConfigError: bfloat16 is asked of a CPU, or frames of fewer pixels than a patch.
        """
        check_precision(config.precision, device)
        path = find_weights(config.checkpoint)
        stored = read_tensors(path, ("",))
        sizes = trunk_sizes(path, stored)
        refuse_strangers(path, PARTS)
        with torch.device("meta"):
            trunk = Trunk(sizes)
        load_strictly(trunk, {k: each for k, each in stored.items() if k.startswith(TRUNK)}, path)
        return cls(trunk.to(device), config, path, file_digest(path))

    @torch.inference_mode()
    def frame_features(self, images: Tensor) -> Tensor:
        """[F, 3, H, W] in [0, 1] -> [F, rows, columns, 2 * C] float32; all frames are one scene."""
        frames = self.frame_size(images)
        tokens = self._pair(frames.unsqueeze(0), self.layer)
        return torch.unflatten(
            tokens[0, :, self.specials :], 1, (frames.shape[-2] // self.patch, -1)
        )

    @torch.inference_mode()
    def tokens(self, images: Tensor) -> list[Tensor]:
        """Tokens of every decoder block.

        Args:
            images: [B, S, 3, H, W] in [0, 1], sides multiples of the patch size; any order.

        Returns:
            Per block [B, S, R registers + rows * columns, C] float32; even blocks look inside each
            frame, odd ones at all frames of their scene.
        """
        kept = self._decoded(images, range(self.trunk.sizes.depth))
        return [kept[block] for block in sorted(kept)]

    @torch.inference_mode()
    def cameras(self, images: Tensor) -> Cameras:
        """Cameras of frames; `images` as for `tokens`."""
        return Cameras(self._poses(images, self._last_pair(images)))

    @torch.inference_mode()
    def points(self, images: Tensor) -> Points:
        """Places of pixels, in the world and in each camera's frame; `images` as for `tokens`."""
        tokens = self._last_pair(images)
        local, confidence = self._local_points(images, tokens)
        return Points(moved(local, self._poses(images, tokens)), local, confidence)

    @torch.inference_mode()
    def depth_maps(self, images: Tensor) -> Tensor:
        """[F, 3, H, W] in [0, 1] -> [F, h, w, 2]: depth, and how probably it is right."""
        frames = self.frame_size(images).unsqueeze(0)
        local, confidence = self._local_points(frames, self._last_pair(frames))
        return torch.stack([local[0, ..., 2], confidence[0].sigmoid()], -1)

    def _decoded(self, images: Tensor, blocks: Iterable[int]) -> dict[int, Tensor]:
        images = in_patches(images, self.patch)
        device, precision = self.trunk.register_token.device, self.config.precision
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            kept = self.trunk(images.to(device), blocks)
        return {block: tokens.float() for block, tokens in kept.items()}

    def _pair(self, images: Tensor, pair: int) -> Tensor:
        kept = self._decoded(images, (2 * pair, 2 * pair + 1))
        return torch.cat([kept[2 * pair], kept[2 * pair + 1]], -1)

    def _last_pair(self, images: Tensor) -> Tensor:
        return self._pair(images, self.trunk.sizes.depth // 2 - 1)

    def _local_points(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """[B, S, H, W, 3] places in each frame's camera, and [B, S, H, W] logits of trust."""
        local = points_of(self._per_pixel("point", images, tokens))
        return local, self._per_pixel("conf", images, tokens).squeeze(-1)

    def _poses(self, images: Tensor, tokens: Tensor) -> Tensor:
        decoder, head = self._head("camera")
        poses = [head(patches) for patches in self._patches(decoder, images, tokens)]
        return torch.unflatten(torch.cat(poses), 0, images.shape[:2])

    def _per_pixel(self, name: str, images: Tensor, tokens: Tensor) -> Tensor:
        decoder, head = self._head(name)
        rows = images.shape[-2] // self.patch
        values = [head(patches, rows) for patches in self._patches(decoder, images, tokens)]
        return torch.unflatten(torch.cat(values), 0, images.shape[:2])

    def _patches(self, decoder: HeadDecoder, images: Tensor, tokens: Tensor) -> Iterable[Tensor]:
        """[N, patches, out] of a head's own decoder, a few frames at a time."""
        head_dim = decoder.sizes.width // decoder.sizes.heads
        rotation = rotation_of(images, self.trunk.sizes, head_dim).to(tokens.device)
        for chunk in torch.split(tokens.flatten(0, 1), FRAMES_PER_CHUNK):
            yield decoder(chunk, rotation)[:, self.specials :]

    def _head(self, name: str) -> tuple[HeadDecoder, nn.Module]:
        if name not in self._heads:
            encoder, prefix = self.trunk.sizes.encoder, f"{name}_decoder."
            tensors = read_tensors(self.path, (prefix,))
            head_dim = encoder.embed_dim // encoder.heads
            sizes = head_sizes(self.path, tensors, prefix, head_dim)
            with torch.device("meta"):
                decoder, head = HeadDecoder(sizes, 2 * encoder.embed_dim), self._output(name, sizes)
            load_strictly(decoder, tensors, self.path, prefix)
            prefix = f"{name}_head."
            load_strictly(head, read_tensors(self.path, (prefix,)), self.path, prefix)
            for part in (decoder, head):
                part.eval().requires_grad_(False).to(self.trunk.register_token.device)
            self._heads[name] = (decoder, head)
        return self._heads[name]

    def _output(self, name: str, sizes: HeadSizes) -> nn.Module:
        if name == "camera":
            return CameraHead(sizes.out)
        return PatchPixels(sizes.out, CHANNELS[name], self.patch)
