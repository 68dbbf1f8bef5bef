"""Resizing without torchvision equals Pillow, which the released preprocessing uses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from threedrs_components.teachers.pixels import FrameSize, normalised, resized
from threedrs_components.teachers.settings import Framing


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


@pytest.mark.parametrize(
    ("framing", "given", "expected"),
    [
        ("aspect", (480, 640), (392, 518)),
        ("aspect", (968, 1296), (392, 518)),
        ("aspect", (640, 480), (518, 518)),
        ("squash", (480, 640), (518, 518)),
        ("crop", (480, 640), (518, 518)),
        ("crop", (37, 2000), (518, 518)),
    ],
)
def test_framings_give_the_released_sizes(
    framing: Framing, given: tuple[int, int], expected: tuple[int, int]
) -> None:
    found = FrameSize(518, 518, 14, framing)(torch.rand(1, 3, *given))
    assert found.shape[-2:] == expected


def test_only_what_is_too_tall_loses_its_ends() -> None:
    rows = torch.linspace(0, 1, 64).view(1, 1, 64, 1).expand(1, 3, 64, 32)
    found = FrameSize(32, 32, 8, "aspect")(rows)
    torch.testing.assert_close(found[0, 0, :, 0], rows[0, 0, 16:48, 0], atol=1 / 255, rtol=0)


def test_cropping_keeps_the_middle_in_its_shape() -> None:
    columns = torch.linspace(0, 1, 64).view(1, 1, 1, 64).expand(1, 3, 32, 64)
    found = FrameSize(32, 32, 8, "crop")(columns)
    torch.testing.assert_close(found[0, 0, 0], columns[0, 0, 0, 16:48], atol=1 / 255, rtol=0)


def test_squashing_keeps_both_ends() -> None:
    columns = torch.linspace(0, 1, 64).view(1, 1, 1, 64).expand(1, 3, 32, 64)
    found = FrameSize(32, 32, 8, "squash")(columns)[0, 0, 0]
    assert found[0] < 0.03
    assert found[-1] > 0.97


@pytest.mark.parametrize(
    ("framing", "given", "seen"),
    [
        ("aspect", (480, 640), (1, 1)),
        ("aspect", (968, 1296), (1, 1)),
        ("aspect", (640, 480), (518 / 686, 1)),
        ("squash", (640, 480), (1, 1)),
        ("crop", (480, 640), (1, 518 / 691)),
    ],
)
def test_what_is_seen_of_a_frame_is_known(
    framing: Framing, given: tuple[int, int], seen: tuple[float, float]
) -> None:
    assert FrameSize(518, 518, 14, framing).seen(*given) == pytest.approx(seen)
