"""Pixels as vision towers were trained on them: images [B, H, W, 3] uint8 to [B, 3, H, W]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_pixels(images: Tensor, dtype: torch.dtype) -> Tensor:
    """By CLIP's means and deviations: Qwen2-VL, LLaVA-NeXT-Video."""
    return normalised(images, CLIP_MEAN, CLIP_STD, dtype)


def centred_pixels(images: Tensor, dtype: torch.dtype) -> Tensor:
    """From -1 to 1, by means and deviations of a half: SigLIP, Qwen3-VL."""
    return (images.permute(0, 3, 1, 2).float() / 127.5 - 1.0).to(dtype)


def normalised(
    images: Tensor, means: Sequence[float], deviations: Sequence[float], dtype: torch.dtype
) -> Tensor:
    """By means and deviations of red, green and blue, of values from 0 to 1."""
    scaled = images.permute(0, 3, 1, 2).float() / 255.0
    mean, deviation = scaled.new_tensor(means), scaled.new_tensor(deviations)
    return ((scaled - mean[:, None, None]) / deviation[:, None, None]).to(dtype)
