"""The tensors of VGGT's track head, by name and shape, so that the released model is whole.

Nothing here computes: no feature needs point tracks, and without the released weights a tracker
could not be checked.
"""

from __future__ import annotations

import torch
from torch import nn

from threedrs_components.teachers.transformer import Mlp
from threedrs_components.teachers.vggt.architecture import VGGTArchitecture
from threedrs_components.teachers.vggt.heads import DPTHead

FEATURES = 128
"""Channels of the maps that points are followed on."""
HIDDEN = 384
HEADS = 8
DEPTH = 6
"""Blocks in time, and of each of the three kinds in space."""
VIRTUAL_TRACKS = 64
CORRELATIONS = 7 * (2 * 4 + 1) ** 2
"""Seven pyramid levels, a window of four pixels to every side."""
TOKEN = 3 * FEATURES + 4
"""Motion, correlation and appearance of one point in one frame, and its flow."""
MLP_RATIO = 4


class TrackBlock(nn.Module):
    """Self attention and MLP of the tracker."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(HIDDEN), nn.LayerNorm(HIDDEN)
        self.attn = nn.MultiheadAttention(HIDDEN, HEADS, batch_first=True)
        self.mlp = Mlp(HIDDEN, MLP_RATIO * HIDDEN)


class TrackCrossBlock(nn.Module):
    """Cross attention and MLP of the tracker."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(HIDDEN), nn.LayerNorm(HIDDEN)
        self.norm_context = nn.LayerNorm(HIDDEN)
        self.cross_attn = nn.MultiheadAttention(HIDDEN, HEADS, batch_first=True)
        self.mlp = Mlp(HIDDEN, MLP_RATIO * HIDDEN)


class UpdateFormer(nn.Module):
    """Attention over time, and over points through virtual tracks."""

    def __init__(self) -> None:
        super().__init__()
        self.input_norm = nn.LayerNorm(TOKEN)
        self.input_transform = nn.Linear(TOKEN, HIDDEN)
        self.output_norm = nn.LayerNorm(HIDDEN)
        self.flow_head = nn.Linear(HIDDEN, FEATURES + 2)
        self.virual_tracks = nn.Parameter(  # spelt as in the released state dict
            torch.zeros(1, VIRTUAL_TRACKS, 1, HIDDEN)
        )
        self.time_blocks = nn.ModuleList(TrackBlock() for _ in range(DEPTH))
        self.space_virtual_blocks = nn.ModuleList(TrackBlock() for _ in range(DEPTH))
        self.space_point2virtual_blocks = nn.ModuleList(TrackCrossBlock() for _ in range(DEPTH))
        self.space_virtual2point_blocks = nn.ModuleList(TrackCrossBlock() for _ in range(DEPTH))


class Tracker(nn.Module):
    """Refines tracks in rounds."""

    def __init__(self) -> None:
        super().__init__()
        self.corr_mlp = Mlp(CORRELATIONS, HIDDEN, FEATURES)
        self.query_ref_token = nn.Parameter(torch.zeros(1, 2, TOKEN))
        self.updateformer = UpdateFormer()
        self.fmap_norm = nn.LayerNorm(FEATURES)
        self.ffeat_norm = nn.GroupNorm(1, FEATURES)
        self.ffeat_updater = nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.GELU())
        self.vis_predictor = nn.Sequential(nn.Linear(FEATURES, 1))
        self.conf_predictor = nn.Sequential(nn.Linear(FEATURES, 1))


class TrackHead(nn.Module):
    """Feature maps of a DPT head without its last convolutions, and the tracker on them."""

    def __init__(self, architecture: VGGTArchitecture) -> None:
        super().__init__()
        maps = architecture.model_copy(update={"dpt_features": FEATURES})
        self.feature_extractor = DPTHead(maps, channels=None)
        self.tracker = Tracker()
