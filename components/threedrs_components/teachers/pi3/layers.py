"""Pi3's parts: encoder, alternating decoder, and the heads for points, confidence and cameras.

Attribute names are those of the released state dict, so its keys need no translation. Written from
the architecture's description (paper: Pi3, Wang et al. 2025).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from threedrs_components.teachers.pi3.architecture import HeadSizes, TrunkSizes
from threedrs_components.teachers.pixels import PIXEL_MEAN, PIXEL_STD
from threedrs_components.teachers.transformer import Block, Rotation
from threedrs_components.teachers.vggt.architecture import VGGTArchitecture
from threedrs_components.teachers.vggt.layers import FRAMES_PER_CHUNK, VisionTransformer

EPS = 1e-6
"""Of the norms of all blocks; those of queries and keys keep torch's 1e-5."""
ROTATION = 9
"""Numbers that the camera head gives for a rotation, before the nearest one is taken."""


class Encoder(VisionTransformer):
    """DINOv2 with registers; the files lack the token of its masked training."""

    def __init__(self, architecture: VGGTArchitecture) -> None:
        super().__init__(architecture)
        del self.mask_token


class HeadBlock(Block):
    """A block without gains and without normalised queries and keys."""

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__(sizes.width, sizes.heads, sizes.mlp_ratio, eps=EPS)
        for gain in ("ls1", "ls2"):
            self.add_module(gain, nn.Identity())


class Trunk(nn.Module):
    """Frames to tokens: encoder and decoder. No token says which frame is which."""

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, sizes: TrunkSizes, scale: float = 0.01) -> None:
        """Build with random weights; `scale` is LayerScale's first value in the decoder."""
        super().__init__()
        width, heads = sizes.encoder.embed_dim, sizes.encoder.heads
        self.sizes = sizes
        self.encoder = Encoder(sizes.encoder)
        self.register_token = nn.Parameter(
            torch.empty(1, 1, sizes.registers, width).normal_(std=1e-6)
        )
        self.decoder = nn.ModuleList(
            Block(width, heads, sizes.mlp_ratio, qk_norm=True, eps=EPS, scale=scale)
            for _ in range(sizes.depth)
        )
        # Part of the file, unlike VGGT's.
        self.register_buffer("image_mean", torch.tensor(PIXEL_MEAN).view(1, 3, 1, 1))
        self.register_buffer("image_std", torch.tensor(PIXEL_STD).view(1, 3, 1, 1))

    def patch_tokens(self, frames: Tensor) -> Tensor:
        """[N, 3, H, W] in [0, 1] -> [N, rows * columns, C], in chunks when no gradient is kept."""
        frames = (frames - self.image_mean) / self.image_std
        size = len(frames) if torch.is_grad_enabled() else FRAMES_PER_CHUNK
        return torch.cat([self.encoder(chunk) for chunk in torch.split(frames, size)])

    def forward(self, images: Tensor, blocks: Iterable[int]) -> dict[int, Tensor]:
        """Run the decoder, keep what the chosen blocks give.

        Args:
            images: [B, S, 3, H, W] float32 in [0, 1], sides multiples of the patch size.
            blocks: indices to keep, 0-based; even ones look inside a frame, odd ones at all.

        Returns:
            Per block [B, S, registers + rows * columns, C], not normalised.
        """
        wanted, (scenes, views) = set(blocks), images.shape[:2]
        patches = self.patch_tokens(images.flatten(0, 1))
        registers = self.register_token[0].expand(len(patches), -1, -1)
        x = torch.cat([registers, patches], 1)
        within = rotation_of(images, self.sizes, x.shape[-1] // self.sizes.encoder.heads)
        across, shape = within.repeated(views), x.shape
        kept = {}
        for index, block in enumerate(self.decoder):
            if index % 2:
                x = block(x.reshape(scenes, -1, shape[-1]), across).reshape(shape)
            else:
                x = block(x, within)
            if index in wanted:
                kept[index] = torch.unflatten(x, 0, (scenes, views))
        return kept


def rotation_of(images: Tensor, sizes: TrunkSizes, head_dim: int) -> Rotation:
    """Places of a frame's tokens, equal in all frames: registers at 0, patches from 1."""
    rows, columns = (side // sizes.encoder.patch_size for side in images.shape[-2:])
    places = Rotation.of_grid(rows, columns, sizes.registers, head_dim)
    return places.to(images.device)


class HeadDecoder(nn.Module):
    """A few blocks of a head's own, inside each frame."""

    def __init__(self, sizes: HeadSizes, width: int) -> None:
        super().__init__()
        self.sizes = sizes
        self.projects = nn.Linear(width, sizes.width)
        self.blocks = nn.ModuleList(HeadBlock(sizes) for _ in range(sizes.depth))
        self.linear_out = nn.Linear(sizes.width, sizes.out)

    def forward(self, tokens: Tensor, rotation: Rotation) -> Tensor:
        """[N, registers + patches, width] -> [N, registers + patches, out]."""
        x = self.projects(tokens)
        for block in self.blocks:
            x = block(x, rotation)
        out: Tensor = self.linear_out(x)
        return out


class PatchPixels(nn.Module):
    """One linear map from a token to all pixels of its patch."""

    def __init__(self, width: int, channels: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Linear(width, channels * patch_size**2)

    def forward(self, patches: Tensor, rows: int) -> Tensor:
        """[N, rows * columns, width] -> [N, H, W, channels]."""
        values = self.proj(patches).transpose(1, 2).unflatten(2, (rows, -1))
        return F.pixel_shuffle(values, self.patch_size).permute(0, 2, 3, 1)


class ResidualUnit(nn.Module):
    """Three rectified linear maps beside a skip path; called convolutions in the state dict."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.res_conv1 = nn.Linear(width, width)
        self.res_conv2 = nn.Linear(width, width)
        self.res_conv3 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width]."""
        inner = x
        for linear in (self.res_conv1, self.res_conv2, self.res_conv3):
            inner = F.relu(linear(inner))
        return x + inner


class CameraHead(nn.Module):
    """A frame's patches to its pose."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.res_conv = nn.ModuleList(ResidualUnit(width) for _ in range(2))
        self.more_mlps = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.fc_t = nn.Linear(width, 3)
        self.fc_rot = nn.Linear(width, ROTATION)

    def forward(self, patches: Tensor) -> Tensor:
        """[N, patches, width] -> [N, 4, 4] camera to world, OpenCV axes."""
        x = patches
        for unit in self.res_conv:
            x = unit(x)
        x = self.more_mlps(x.mean(1))
        upper = torch.cat([nearest_rotation(self.fc_rot(x)), self.fc_t(x).unsqueeze(-1)], -1)
        last = upper.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(upper), 1, 4)
        return torch.cat([upper, last], 1)


def nearest_rotation(numbers: Tensor) -> Tensor:
    """[N, 9] -> [N, 3, 3]: the rotation nearest to the matrix whose rows are brought to length 1.

    By singular values; a reflection is mended along the direction of the smallest one.
    """
    rows = F.normalize(torch.unflatten(numbers.float(), -1, (3, 3)), dim=-1)
    left, _, right = torch.linalg.svd(rows)
    sign = torch.linalg.det(left @ right)
    mended = torch.cat([left[..., :2], left[..., 2:] * sign[:, None, None]], -1)
    rotations: Tensor = mended @ right
    return rotations
