"""What teachers are shown from Python: one clear complaint each, the same of all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from threedrs_components.teachers.pixels import checked_images, in_patches
from threedrs_components.teachers.teacher import FrameTeacher
from threedrs_components.testing.teacher_checkpoints import TINY_KINDS, tiny_teacher
from threedrs_platform.errors import DataError

torch.set_num_threads(1)

SOUND = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
METHODS = {
    "vggt": ("tokens", "cameras", "depth", "points"),
    "da3": ("tokens", "cameras", "depth", "rays"),
    "pi3": ("tokens", "cameras", "points"),
}
FAULTS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "bytes": (lambda x: (x * 255).to(torch.uint8), r"images of uint8; .* images\.float\(\) / 255"),
    "255": (lambda x: x * 255, r"with values from 0\.\d+ to 25\d.*; expected 0 to 1, neither"),
    "negative": (lambda x: x - 0.5, r"with values from -0\.\d+ to 0\.\d+; expected 0 to 1"),
    "nan": (lambda x: x.where(x > 0.5, torch.nan), r"not numbers \(NaN\); expected 0 to 1"),
    "array": (lambda x: x.numpy(), "are a ndarray, not a torch tensor; torch.as_tensor makes one"),
    "colours last": (lambda x: x.movedim(-3, -1), r"\[.*28, 28, 3\]; expected .*, 3, H, W\]"),
    "one image": (lambda x: x[0], r"shape \[.*3, 28, 28\]; expected .*, 3, H, W\]"),
    "none": (lambda x: x[:0], r"shape \[0, .*at least one image"),
}
every_fault = pytest.mark.parametrize("fault", FAULTS)


@every_fault
def test_frames_and_scenes_are_complained_of_alike(fault: str) -> None:
    spoil, complaint = FAULTS[fault]
    with pytest.raises(DataError, match=complaint):
        checked_images(spoil(SOUND), "frames")
    with pytest.raises(DataError, match=complaint):
        in_patches(spoil(SOUND[None]), 14)


def test_sound_ones_pass_as_float32() -> None:
    assert checked_images(SOUND, "frames") is SOUND
    half = checked_images(SOUND.half(), "frames")
    assert half.dtype == torch.float32 and torch.equal(half, SOUND.half().float())
    assert in_patches(SOUND[None], 14).shape == (1, 2, 3, 28, 28)


def test_sides_that_are_no_whole_patches_are_told_the_nearest() -> None:
    wanted = r"30 x 7 pixels .* multiples of 14, .*: resize them to 28 x 14, or ask for `features`"
    with pytest.raises(DataError, match=wanted):
        in_patches(torch.rand(1, 1, 3, 30, 7), 14)


@pytest.mark.parametrize("kind", ["rgb", *TINY_KINDS])
def test_no_kind_takes_bytes_or_what_is_no_number(kind: str, tmp_path: Path) -> None:
    teacher = tiny_teacher(kind, tmp_path).build()
    assert isinstance(teacher, FrameTeacher)
    asked = [teacher.features, *(getattr(teacher, name) for name in METHODS.get(kind, ()))]
    for number, ask in enumerate(asked):
        images = SOUND[None] if number else SOUND
        for fault in ("bytes", "nan"):
            spoil, complaint = FAULTS[fault]
            with pytest.raises(DataError, match=complaint):
                ask(spoil(images))
