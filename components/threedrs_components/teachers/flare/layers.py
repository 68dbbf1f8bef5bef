"""FLARE's transformer parts. Written from the architecture's description.

Attribute names are those of the released state dict, so its keys need no translation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from threedrs_components.teachers.transformer import Attention, Mlp, Rotation

EPS = 1e-6
HEAD_DIM = 64
MLP_RATIO = 4
POSE_WIDTH = 9
"""Translation 3, quaternion 4, logarithms of two focal lengths."""
POSE_HEADS = 8
POSE_BLOCKS = 4
POSE_ROUNDS = 4


def heads_of(width: int) -> int:
    """Attention heads of a width, 64 channels each."""
    return max(1, width // HEAD_DIM)


def norm(width: int) -> nn.LayerNorm:
    """The LayerNorm of encoder and decoders."""
    return nn.LayerNorm(width, eps=EPS)


class SelfBlock(nn.Module):
    """Pre-norm self attention and MLP; decoders call the second norm `norm3`."""

    def __init__(self, width: int, second_norm: str) -> None:
        super().__init__()
        self.second_norm = second_norm
        self.norm1 = norm(width)
        self.attn = Attention(width, heads_of(width))
        self.add_module(second_norm, norm(width))
        self.mlp = Mlp(width, MLP_RATIO * width)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        x = x + self.attn(self.norm1(x), rotation)
        out: Tensor = x + self.mlp(self.get_submodule(self.second_norm)(x))
        return out


class CrossAttention(nn.Module):
    """Tokens of one set look at those of another."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = heads_of(width)
        self.projq, self.projk = nn.Linear(width, width), nn.Linear(width, width)
        self.projv, self.proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor, here: Rotation, there: Rotation) -> Tensor:
        """[B, N, C] and [B, M, C] -> [B, N, C]."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.projq(x), self.projk(memory), self.projv(memory))
        )
        mixed = F.scaled_dot_product_attention(here(query), there(key), value)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class CrossBlock(nn.Module):
    """Pre-norm cross attention and MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm_y, self.norm3 = norm(width), norm(width), norm(width)
        self.cross_attn = CrossAttention(width)
        self.mlp = Mlp(width, MLP_RATIO * width)

    def forward(self, x: Tensor, memory: Tensor, here: Rotation, there: Rotation) -> Tensor:
        """[B, N, C] and [B, M, C] -> [B, N, C]."""
        x = x + self.cross_attn(self.norm1(x), self.norm_y(memory), here, there)
        out: Tensor = x + self.mlp(self.norm3(x))
        return out


class DecoderBlock(nn.Module):
    """Pre-norm self attention, cross attention and MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(width), norm(width)
        self.norm3, self.norm_y = norm(width), norm(width)
        self.attn = Attention(width, heads_of(width))
        self.cross_attn = CrossAttention(width)
        self.mlp = Mlp(width, MLP_RATIO * width)

    def forward(self, x: Tensor, memory: Tensor, here: Rotation, there: Rotation) -> Tensor:
        """[B, N, C] and [B, M, C] -> [B, N, C]."""
        x = x + self.attn(self.norm1(x), here)
        x = x + self.cross_attn(self.norm2(x), self.norm_y(memory), here, there)
        out: Tensor = x + self.mlp(self.norm3(x))
        return out


class PoseBlock(nn.Module):
    """Attention and MLP around norms without weights.

    Not a pre-norm block: the normalised tokens replace the tokens, so the skip path carries them.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = Mlp(width, MLP_RATIO * width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        x = plain_norm(x)
        x = x + self.attn(x, x, x, need_weights=False)[0]
        out: Tensor = x + self.mlp(plain_norm(x))
        return out


class PoseHead(nn.Module):
    """Refines the pose of every view in rounds, from one token per view."""

    def __init__(self, width: int, harmonics: int) -> None:
        super().__init__()
        self.harmonics = harmonics
        self.pose_proj = nn.Linear(POSE_WIDTH * (1 + 2 * harmonics), width)
        self.pose_token_ref = nn.Parameter(torch.zeros(1, 1, 1, width))
        self.pose_branch = Mlp(width, 2 * width, width + POSE_WIDTH)
        self.ffeat_updater = nn.Sequential(nn.Linear(width, width), nn.GELU())
        self.trunk = nn.Sequential(*(PoseBlock(width, POSE_HEADS) for _ in range(POSE_BLOCKS)))

    def forward(self, tokens: Tensor) -> Tensor:
        """[S, C] of the views of one scene, the reference first -> [S, 9] raw poses."""
        first = x = tokens.unsqueeze(0)
        pose = x.new_zeros(1, x.shape[1], POSE_WIDTH)
        reference = torch.zeros_like(x)
        reference[:, 0] = self.pose_token_ref[0, 0, 0]
        for _ in range(POSE_ROUNDS):
            x = self.trunk(x + self.pose_proj(harmonic(pose, self.harmonics)) + reference)
            step = self.pose_branch(x)
            pose = pose + step[..., :POSE_WIDTH]
            x = (x + self.ffeat_updater(plain_norm(step[..., POSE_WIDTH:])) + first) / 2
        return pose[0]


def plain_norm(x: Tensor) -> Tensor:
    """LayerNorm without weights."""
    return F.layer_norm(x, x.shape[-1:], eps=EPS)


def harmonic(values: Tensor, number: int) -> Tensor:
    """[..., n] -> [..., n * (2 * number + 1)]: sines, then cosines of octaves, then the values."""
    octaves = 2.0 ** torch.arange(number, device=values.device, dtype=torch.float32)
    angles = (values.float().unsqueeze(-1) * octaves).flatten(-2)
    return torch.cat([angles.sin(), angles.cos(), values.float()], -1)


def condition(block: nn.Module, embed: nn.Module, pose: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Let every view's pose token [S, 1, C] and tokens [S, N, C] inform each other."""
    mixed = block(torch.cat([pose, x], 1))
    return pose + mixed[:, :1], x + embed(mixed[:, 1:])
