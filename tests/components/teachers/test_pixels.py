"""Resizing without torchvision equals Pillow, which the released preprocessing uses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from threedrs_components.teachers.pixels import normalised, resized


@pytest.mark.parametrize("size", [(24, 32), (48, 64), (96, 130), (37, 21)])
def test_resizing_is_within_one_grey_level_of_pillow(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    pillow = Image.fromarray(picture).resize(size[::-1], Image.Resampling.BICUBIC)
    ours = resized(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255, *size)
    theirs = torch.from_numpy(np.asarray(pillow).copy()).permute(2, 0, 1)[None] / 255
    assert (ours - theirs).abs().max() <= 1.01 / 255


def test_a_frame_of_the_right_size_is_left_alone() -> None:
    frames = torch.rand(2, 3, 8, 8)
    assert resized(frames, 8, 8) is frames


def test_normalised_pixels_have_imagenets_statistics_removed() -> None:
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1).expand(3, 4, 4)
    assert normalised(mean).abs().max() < 1e-6
