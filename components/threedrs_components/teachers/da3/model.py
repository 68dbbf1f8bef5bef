"""Depth Anything 3, whole: the modules under the names of the released state dict."""

from __future__ import annotations

from torch import nn

from threedrs_components.teachers.da3.architecture import Size
from threedrs_components.teachers.da3.heads import CameraDecoder, CameraEncoder, DualDPT
from threedrs_components.teachers.da3.trunk import Trunk


class DA3(nn.Module):
    """Trunk and heads, but for the Gaussian head of the giant one."""

    def __init__(self, size: Size) -> None:
        """Build the model with random weights."""
        super().__init__()
        self.backbone = nn.ModuleDict({"pretrained": Trunk(size.trunk)})
        self.head = DualDPT(*size)
        self.cam_dec = CameraDecoder(size.trunk)
        self.cam_enc = CameraEncoder(size.trunk)
