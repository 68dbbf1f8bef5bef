"""VGGT: the model as released, and the teacher that reads features from its aggregator.

Written from the architecture's description; module names equal the released state dict's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from threedrs_components.teachers.card import TeacherCard, file_digest
from threedrs_components.teachers.config import VGGTArchitecture, VGGTConfig
from threedrs_components.teachers.pixels import resized
from threedrs_components.teachers.vggt_heads import CameraHead, CellHead, DenseOutput, DPTHead
from threedrs_components.teachers.vggt_layers import Aggregator
from threedrs_components.teachers.weights import (
    find_weights,
    load_strictly,
    read_tensors,
)
from threedrs_platform.errors import CheckpointError, ConfigError, Fault

if TYPE_CHECKING:
    Shapes = Mapping[str, tuple[int, ...]]

AGGREGATOR = "aggregator."


@dataclass(frozen=True)
class Geometry:
    """What the heads say about one batch of scenes."""

    pose: Tensor
    """[B, S, 9] world to camera: translation, quaternion xyzw, field of view"""
    depth: Tensor
    """[B, S, h, w, 1] metres"""
    depth_confidence: Tensor
    """[B, S, h, w] above 1"""
    points: Tensor
    """[B, S, h, w, 3] metres"""
    points_confidence: Tensor
    """[B, S, h, w] above 1"""


class VGGT(nn.Module):
    """Aggregator with camera, depth and point heads. (The released track head is left out.)"""

    def __init__(self, architecture: VGGTArchitecture, scale: float = 0.01) -> None:
        """Build the model with random weights; `scale` is LayerScale's first value."""
        super().__init__()
        self.architecture = architecture
        self.aggregator = Aggregator(architecture, scale)
        self.camera_head = CameraHead(architecture, scale)
        self.depth_head: DenseOutput = _dense_head(architecture, 1)
        self.point_head: DenseOutput = _dense_head(architecture, 3)

    def forward(self, images: Tensor) -> Geometry:
        """[B, S, 3, H, W] in [0, 1] -> cameras, depth and points of every frame."""
        last = self.architecture.depth - 1
        dense = (self.depth_head, self.point_head)
        features = self.aggregator(images, {last, *dense[0].layers, *dense[1].layers})
        size, start = (images.shape[-2], images.shape[-1]), self.aggregator.patch_start
        maps: list[tuple[Tensor, Tensor]] = [
            head(features, start, size, self.architecture.patch_size) for head in dense
        ]
        return Geometry(self.camera_head(features[last]), *maps[0], *maps[1])


def _dense_head(architecture: VGGTArchitecture, channels: int) -> DenseOutput:
    head = DPTHead if architecture.dense_head == "dpt" else CellHead
    return head(architecture, channels)


class VGGTTeacher:
    """Reads one aggregator layer: [frame half, global half] of every patch token."""

    def __init__(self, aggregator: Aggregator, config: VGGTConfig, digest: str) -> None:
        self.aggregator = aggregator.eval().requires_grad_(False)
        self.layer = _block_index(config.layer, aggregator.depth)
        self.width = aggregator.patch_embed.side * aggregator.patch_size
        self.grid = aggregator.patch_embed.side
        self.autocast = config.precision == "bfloat16"
        words = f"width {self.width}, height to a multiple of {aggregator.patch_size}, bicubic"
        self.card = TeacherCard(config.kind, digest, config.licence, words, self.layer)

    @classmethod
    def load(cls, config: VGGTConfig, device: str = "cpu") -> VGGTTeacher:
        """Build the aggregator that the checkpoint's own shapes describe, and fill it.

        Raises:
            CheckpointError: no checkpoint is named, or it does not fit.
            ConfigError: bfloat16 is asked of a CPU.
        """
        if config.precision == "bfloat16" and device == "cpu":
            raise ConfigError(
                [Fault("bfloat16 needs an accelerator; on a CPU use float32", "teacher.precision")]
            )
        if config.checkpoint is None:
            raise CheckpointError("teacher vggt has no weights: set `checkpoint`")
        path = find_weights(config.checkpoint)
        tensors = read_tensors(path, (AGGREGATOR,))
        architecture = architecture_of(path, tensors)
        with torch.device("meta"):
            aggregator = Aggregator(architecture)
        inner = {name.removeprefix(AGGREGATOR): tensor for name, tensor in tensors.items()}
        load_strictly(aggregator, inner, path)
        return cls(aggregator.to(device), config, file_digest(path))

    def fitted(self, images: Tensor) -> Tensor:
        """Frames at the model's width, height rounded to whole patches, centre-cropped if tall.

        Args:
            images: [F, 3, H, W] in [0, 1].
        """
        patch = self.aggregator.patch_size
        height, width = images.shape[-2:]
        rows = max(1, round(height * self.width / width / patch))
        images = resized(images, rows * patch, self.width)
        top = max(0, (rows * patch - self.width) // 2)
        return images[:, :, top : top + self.width]

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """[F, 3, H, W] in [0, 1] -> [F, rows, columns, 2 * C] float32; all frames are one scene."""
        device = self.aggregator.camera_token.device
        frames = self.fitted(images).to(device)
        rows = frames.shape[-2] // self.aggregator.patch_size
        with torch.autocast(device.type, torch.bfloat16, enabled=self.autocast):
            tokens = self.aggregator(frames.unsqueeze(0), [self.layer])[self.layer]
        patches = tokens[0, :, self.aggregator.patch_start :].float()
        return torch.unflatten(patches, 1, (rows, -1))


def architecture_of(path: Path, tensors: Mapping[str, Tensor]) -> VGGTArchitecture:
    """The aggregator's widths, read off the shapes of its tensors."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    try:
        return _architecture_of_shapes(shapes)
    except KeyError as error:
        raise CheckpointError(
            f"{path}: no tensor {error.args[0]!r}, so this is no VGGT checkpoint"
        ) from error


def _architecture_of_shapes(shapes: Shapes) -> VGGTArchitecture:
    vit = f"{AGGREGATOR}patch_embed."
    width, _, patch, _ = shapes[f"{vit}patch_embed.proj.weight"]
    side = round((shapes[f"{vit}pos_embed"][1] - 1) ** 0.5)
    hidden = shapes[f"{AGGREGATOR}frame_blocks.0.mlp.fc1.weight"][0]
    depth = _count(shapes, f"{AGGREGATOR}frame_blocks.")
    return VGGTArchitecture(
        image_size=side * patch,
        patch_size=patch,
        embed_dim=width,
        heads=width // shapes[f"{AGGREGATOR}frame_blocks.0.attn.q_norm.weight"][0],
        patch_embed_depth=_count(shapes, f"{vit}blocks."),
        depth=depth,
        mlp_ratio=hidden / width,
        num_registers=shapes[f"{AGGREGATOR}register_token"][2],
        dpt_layers=(depth - 1,) * 4,
    )


def _count(shapes: Iterable[str], prefix: str) -> int:
    """How many numbered modules follow a prefix."""
    return len(
        {name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix)}
    )


def _block_index(layer: int, depth: int) -> int:
    if not -depth <= layer < depth:
        raise CheckpointError(
            f"teacher vggt has blocks 0..{depth - 1}, so there is no layer {layer}"
        )
    return layer % depth
