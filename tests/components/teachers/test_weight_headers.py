"""Headers refuse what the loader refuses, before anything runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from threedrs_components.teachers.checkpoint_files import refuse_no_checkpoint
from threedrs_components.teachers.registry import TEACHERS, teacher_config
from threedrs_components.testing.teacher_checkpoints import TINY_KINDS, write_tiny_checkpoint
from threedrs_platform.errors import CheckpointError

WITH_HEADERS = [kind for kind in TINY_KINDS if kind != "flare"]
ENCODERS = ["dinov2", "dinov2_reg", "dinov3", "mae", "siglip2"]
NOT_READ = ("decoder.", "text_model.", "logit_")
HEADS = ("model.head.", "model.cam_", "camera_head.", "depth_head.", "point_head.",
         "point_decoder.", "conf_", "camera_decoder.", "track_head.")  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of each kind's tiny checkpoint, written once."""
    root = tmp_path_factory.mktemp("weights")

    def folder(kind: str) -> Path:
        if not (root / kind).is_dir():
            write_tiny_checkpoint(kind, root / kind)
        return root / kind

    return folder


def spoiled(source: Path, folder: Path, tensors: dict[str, Tensor]) -> Path:
    """A copy of a checkpoint with these tensors."""
    folder.mkdir(exist_ok=True)
    for file in source.glob("*.json"):
        (folder / file.name).write_bytes(file.read_bytes())
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def of_trunk(kind: str, tensors: dict[str, Tensor]) -> list[str]:
    others = NOT_READ if kind in ENCODERS else HEADS
    if kind in ("vggt", "da3", "pi3"):
        others = HEADS
    # One layer is like another.
    return [
        name
        for name in tensors
        if not name.startswith(others) and ".head." not in name and ".1." not in name
    ]


@pytest.mark.parametrize("kind", WITH_HEADERS)
def test_sound_weights_pass(kind: str, folders: Callable[[str], Path]) -> None:
    folder = folders(kind)
    refuse_no_checkpoint(folder, "others", TEACHERS[kind].weight_files)
    for checkpoint in (folder, folder / "model.safetensors"):
        teacher_config(kind, str(checkpoint)).refuse_weights()


@pytest.mark.parametrize("kind", WITH_HEADERS)
def test_every_tensor_that_is_read_is_missed(
    kind: str, folders: Callable[[str], Path], tmp_path: Path
) -> None:
    tensors = load_file(folders(kind) / "model.safetensors")
    for name in of_trunk(kind, tensors):
        left = {each: value for each, value in tensors.items() if each != name}
        config = teacher_config(kind, str(spoiled(folders(kind), tmp_path / "x", left)))
        with pytest.raises(CheckpointError, match=r"tensor|layer"):
            config.refuse_weights()


def stranger(tensors: dict[str, Tensor], name: str) -> None:
    tensors[f"{name.rpartition('.')[0]}.stranger"] = torch.zeros(2)


def strange_part(tensors: dict[str, Tensor], name: str) -> None:
    del name
    tensors["semantic.weight"] = torch.zeros(2)


def integers(tensors: dict[str, Tensor], name: str) -> None:
    tensors[name] = tensors[name].to(torch.int8)


def misshapen(tensors: dict[str, Tensor], name: str) -> None:
    tensors[name] = torch.cat([tensors[name], tensors[name]])


@pytest.mark.parametrize("kind", WITH_HEADERS)
@pytest.mark.parametrize("spoil", [stranger, strange_part, integers, misshapen])
def test_what_does_not_fit_is_refused_by_headers_and_by_the_loader(
    spoil: Callable[[dict[str, Tensor], str], None],
    kind: str,
    folders: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    tensors = load_file(folders(kind) / "model.safetensors")
    name = next(each for each in of_trunk(kind, tensors) if each.endswith("0.norm1.bias")
                or "0.layer_norm1.bias" in each or "0.layernorm_before.bias" in each)  # fmt: skip
    spoil(tensors, name)
    config = teacher_config(kind, str(spoiled(folders(kind), tmp_path / "x", tensors)))
    with pytest.raises(CheckpointError, match=r"model\.safetensors: .*(tensor|layer)"):
        config.refuse_weights()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: "):
        config.build()


@pytest.mark.parametrize(
    ("kind", "layer"), [*[(kind, 99) for kind in TINY_KINDS], ("dinov3", -99), ("da3", -99)]
)
def test_a_layer_that_is_none_is_told_by_headers(
    kind: str, layer: int, folders: Callable[[str], Path]
) -> None:
    with pytest.raises(CheckpointError, match=f"layer {layer}"):
        teacher_config(kind, str(folders(kind)), layer=layer).refuse_weights()


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_folders_without_weights_are_refused(kind: str, tmp_path: Path) -> None:
    names = TEACHERS[kind].weight_files
    refuse_no_checkpoint(tmp_path / "absent", "others", names)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"holds no checkpoint, .*; take others"):
        refuse_no_checkpoint(tmp_path, "others", names)
    link = tmp_path / names[0]
    os.symlink(link, link)
    with pytest.raises(CheckpointError, match="leads back to itself; take others"):
        refuse_no_checkpoint(tmp_path, "others", names)
    with pytest.raises(CheckpointError, match="leads back to itself; take others"):
        refuse_no_checkpoint(link, "others", names)
    link.unlink()
    os.symlink(tmp_path / "gone", link)
    with pytest.raises(CheckpointError, match=r"a link to .*gone, which is no file here"):
        refuse_no_checkpoint(tmp_path, "others", names)


@pytest.mark.parametrize("other", ["pi3", "vggt"])
@pytest.mark.parametrize("kind", ENCODERS)
def test_weights_without_their_configuration_are_no_encoder(
    kind: str, other: str, folders: Callable[[str], Path]
) -> None:
    config = teacher_config(kind, str(folders(other)))
    with pytest.raises(CheckpointError, match=r"config\.json is missing .*; take "):
        config.refuse_weights()


def test_files_that_transformers_does_not_read_are_no_encoder(
    folders: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = spoiled(folders("dinov3"), tmp_path / "x", {"a": torch.zeros(1)})
    torch.save({"a": torch.zeros(1)}, folder / "dinov3_vitl16.pth")
    config = teacher_config("dinov3", str(folder / "dinov3_vitl16.pth"))
    for check in (config.refuse_weights, config.build):
        with pytest.raises(CheckpointError, match=r"dinov3_vitl16\.pth: .*model\.safetensors or"):
            check()


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("patch_size", 0, "patch_size is 0, where a whole number"),
        ("patch_size", 4, "config.json contradicts"),
        ("hidden_size", 32, "config.json contradicts"),
        ("hidden_size", 15, "no multiple of num_attention_heads"),
        ("num_hidden_layers", 3, "has layers 0..1"),
        ("num_hidden_layers", 1, "has layers 0..1"),
        ("num_attention_heads", "two", "num_attention_heads is 'two', where"),
        ("image_size", None, "image_size is None"),
    ],
)
def test_a_configuration_that_lies_is_refused(
    kind: str,
    name: str,
    value: Any,
    complaint: str,
    folders: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    folder = spoiled(folders(kind), tmp_path / "x", load_file(folders(kind) / "model.safetensors"))
    stored = json.loads((folder / "config.json").read_text())
    stored.get("vision_config", stored)[name] = value
    (folder / "config.json").write_text(json.dumps(stored))
    with pytest.raises(CheckpointError, match=complaint):
        teacher_config(kind, str(folder)).refuse_weights()


@pytest.mark.parametrize("value", ["four", True, 5])
def test_the_number_of_registers_must_be_that_of_the_weights(
    value: Any, folders: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = spoiled(
        folders("dinov3"), tmp_path / "x", load_file(folders("dinov3") / "model.safetensors")
    )
    stored = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**stored, "num_register_tokens": value}))
    config = teacher_config("dinov3", str(folder))
    with pytest.raises(CheckpointError, match=r"num_register_tokens|register_tokens"):
        config.refuse_weights()
    with pytest.raises(CheckpointError, match=r"num_register_tokens|register_tokens"):
        config.build()


@pytest.mark.parametrize(
    "colours",
    [
        {},
        [],
        {"image_mean": [0.5, 0.5, 0.5], "image_std": [0, 0, 0]},
        {"image_mean": [float("nan")] * 3, "image_std": [0.5, 0.5, 0.5]},
        {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, -0.5]},
        {"image_mean": [0.5, 0.5], "image_std": [0.5, 0.5, 0.5]},
    ],
)
def test_colours_that_make_no_pixels_are_refused(
    colours: Any, folders: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = spoiled(
        folders("dinov3"), tmp_path / "x", load_file(folders("dinov3") / "model.safetensors")
    )
    (folder / "preprocessor_config.json").write_text(json.dumps(colours))
    config = teacher_config("dinov3", str(folder))
    for check in (config.refuse_weights, config.build):
        with pytest.raises(CheckpointError, match=r"preprocessor_config\.json: "):
            check()
