"""Teacher files in every number format and wrapping that people keep weights in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from threedrs_components.teachers.registry import load_teacher
from threedrs_components.testing.teacher_checkpoints import TINY_KINDS, write_tiny_checkpoint
from threedrs_platform.errors import CheckpointError

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("teachers")
    return {kind: write_tiny_checkpoint(kind, folder / kind) for kind in TINY_KINDS}


def tensors_of(path: Path) -> Tensors:
    if path.suffix == ".pth":
        content: dict[str, Tensors] = torch.load(path, weights_only=True)
        return content["model"]
    return load_file(path / "model.safetensors" if path.is_dir() else path)


def features(kind: str, path: Path) -> Tensor:
    frames = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found: Any = load_teacher(kind, str(path))
    values: Tensor = found.features(frames)
    return values


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", TINY_KINDS)
def test_weights_of_any_float_format_are_computed_in_float32(
    kind: str, dtype: torch.dtype, written: dict[str, Path], tmp_path: Path
) -> None:
    path = written[kind]
    narrowed = {name: value.to(dtype) for name, value in tensors_of(path).items()}
    # What float32 makes of the numbers that were stored.
    expected = {name: value.float() for name, value in narrowed.items()}
    for folder, tensors in (("narrow", narrowed), ("float32", expected)):
        (tmp_path / folder).mkdir()
        save_file(tensors, tmp_path / folder / "model.safetensors", {"format": "pt"})
        if path.is_dir():
            (tmp_path / folder / "config.json").write_text((path / "config.json").read_text())
    found, wanted = (features(kind, tmp_path / folder) for folder in ("narrow", "float32"))
    assert found.dtype == torch.float32
    assert torch.equal(found, wanted)


def renamed(tensors: Tensors) -> Tensors:
    return {f"module.{name}": value for name, value in tensors.items()}


WRAPPINGS: dict[str, Callable[[Tensors], dict[str, Any]]] = {
    "model": lambda tensors: {"model": tensors, "epoch": 3},
    "state_dict": lambda tensors: {"state_dict": tensors, "epoch": 3},
    "module": renamed,
    "model, module": lambda tensors: {"model": renamed(tensors)},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("kind", ["vggt", "flare"])
def test_a_wrapped_state_dict_is_unwrapped(
    kind: str, wrapping: str, written: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(WRAPPINGS[wrapping](tensors_of(written[kind])), path)
    assert torch.equal(features(kind, path), features(kind, written[kind]))


def test_names_of_a_safetensors_file_may_be_wrapped_too(
    written: dict[str, Path], tmp_path: Path
) -> None:
    save_file(renamed(tensors_of(written["vggt"])), tmp_path / "model.safetensors")
    assert torch.equal(features("vggt", tmp_path), features("vggt", written["vggt"]))


def test_whole_numbers_are_no_weights(written: dict[str, Path], tmp_path: Path) -> None:
    tensors = tensors_of(written["vggt"])
    tensors["aggregator.camera_token"] = tensors["aggregator.camera_token"].to(torch.int8)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"1 not of floating point: aggregator\.camera_token"):
        load_teacher("vggt", str(tmp_path))
