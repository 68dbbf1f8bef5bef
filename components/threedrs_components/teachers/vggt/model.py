"""VGGT: the model as released.

Written from the architecture's description; module names equal the released state dict's.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from threedrs_components.teachers.vggt.architecture import VGGTArchitecture
from threedrs_components.teachers.vggt.heads import CameraHead, CellHead, DenseOutput, DPTHead
from threedrs_components.teachers.vggt.layers import Aggregator
from threedrs_components.teachers.vggt.track import TrackHead


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
    """Aggregator with camera, depth and point heads."""

    def __init__(self, architecture: VGGTArchitecture, scale: float = 0.01) -> None:
        """Build the model with random weights; `scale` is LayerScale's first value."""
        super().__init__()
        self.architecture = architecture
        self.aggregator = Aggregator(architecture, scale)
        self.camera_head = CameraHead(architecture, scale)
        self.depth_head: DenseOutput = dense_head(architecture, 1)
        self.point_head: DenseOutput = dense_head(architecture, 3)
        if architecture.track_head:
            self.track_head = TrackHead(architecture)

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


def dense_head(architecture: VGGTArchitecture, channels: int) -> DenseOutput:
    """The head for depth (1 channel) or points (3)."""
    head = DPTHead if architecture.dense_head == "dpt" else CellHead
    return head(architecture, channels)
