"""What teachers do to pixels before they look at them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)


def resized(images: Tensor, height: int, width: int) -> Tensor:
    """Resize [F, 3, H, W] in [0, 1] as Pillow's bicubic filter does, through 8-bit pixels."""
    if images.shape[-2:] == (height, width):
        return images
    bytes_ = (images.cpu() * 255).round().to(torch.uint8)
    small = F.interpolate(bytes_, (height, width), mode="bicubic", antialias=True)
    return (small.float() / 255).to(images.device)


def normalised(images: Tensor) -> Tensor:
    """Subtract ImageNet's pixel mean, divide by its deviation: [..., 3, H, W]."""
    mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
    return (images - mean) / std
