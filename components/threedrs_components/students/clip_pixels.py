"""Pixels as CLIP was trained on them: Qwen2-VL and LLaVA-NeXT-Video normalise alike."""

from __future__ import annotations

import torch
from torch import Tensor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_pixels(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Images [B, H, W, 3] uint8 as [B, 3, H, W], of zero mean and unit deviation per channel."""
    scaled = images.permute(0, 3, 1, 2).float() / 255.0
    mean, deviation = scaled.new_tensor(CLIP_MEAN), scaled.new_tensor(CLIP_STD)
    return ((scaled - mean[:, None, None]) / deviation[:, None, None]).to(dtype)
