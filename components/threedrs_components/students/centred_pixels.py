"""Pixels from -1 to 1, as SigLIP and Qwen3-VL were trained on them."""

from __future__ import annotations

import torch
from torch import Tensor


def centred_pixels(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Images [B, H, W, 3] uint8 as [B, 3, H, W]: mean and deviation of a half are taken off."""
    return (images.permute(0, 3, 1, 2).float() / 127.5 - 1.0).to(dtype)
