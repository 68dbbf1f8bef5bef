"""What features of published teachers cost, where a kind has several sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

from threedrs_components.teachers.costs import DA3_SIZES, extraction_flops, teacher_cost
from threedrs_components.teachers.da3.architecture import DA3Architecture, DenseSizes, Size
from threedrs_components.teachers.da3.config import DA3Config
from threedrs_components.testing.teacher_checkpoints import write_da3


@pytest.mark.parametrize(("width", "tera"), [(384, 7.7), (768, 18.0), (1024, 52.7), (1536, 159.0)])
def test_32_frames_of_depth_anything_take_what_their_arithmetic_does(
    width: int, tera: float
) -> None:
    assert extraction_flops(DA3_SIZES[width], 32) / 1e12 == pytest.approx(tera, abs=0.1)


def test_a_size_is_priced_by_its_checkpoint_or_as_the_large_one(tmp_path: Path) -> None:
    config = DA3Config(checkpoint=str(tmp_path / "model.safetensors"))
    assert teacher_cost(config) == DA3_SIZES[1024]
    shape = DA3Architecture(384, 6, depth=4, start=1, hidden=8, image_size=28)
    folder = tmp_path / "small"
    folder.mkdir()
    write_da3(folder, Size(shape, DenseSizes(2, (2, 2, 2, 2), (0, 1, 2, 3))))
    small = teacher_cost(DA3Config(checkpoint=str(folder)))
    half = teacher_cost(DA3Config(checkpoint=str(folder), half="global"))
    assert small == DA3_SIZES[384]
    assert half is not None and half.width == 384
