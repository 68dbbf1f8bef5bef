"""Published weights load whole under transformers names, or not at all."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedModel

from threedrs_components.students.build import build_student
from threedrs_components.students.checkpoints import save_student
from threedrs_components.students.lmms_lab import MODEL_NAMES
from threedrs_components.students.registry import STUDENTS
from threedrs_components.students.siglip_qwen2 import lmms_lab_config
from threedrs_components.testing.student_checkpoints import LAYOUTS, lmms_lab_name, publish
from threedrs_platform.errors import CheckpointError

WEIGHTS = "model.safetensors"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_tensor_arrives(layout: str, tmp_path: Path) -> None:
    config, published = publish(layout, tmp_path / "published")
    student = build_student(config)
    loaded: dict[str, Tensor] = student.model.state_dict()
    assert loaded.keys() == published.keys()
    new = [student.tokenizer.ground_id, student.tokenizer.coord_id]
    for name, value in published.items():
        if name.endswith(("embed_tokens.weight", "lm_head.weight")):
            torch.testing.assert_close(loaded[name][new], value[: new[0]].mean(0).expand(2, -1))
            assert torch.equal(loaded[name][: new[0]], value[: new[0]])
        else:
            assert torch.equal(loaded[name], value), name


def rewritten(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})

    return spoil


UP = "model.layers.1.mlp.up_proj.weight"
NARROW = rewritten(lambda tensors: tensors.update({UP: tensors[UP][:, :7].contiguous()}))
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (rewritten(lambda t: t.__delitem__(UP)), rf"1 tensor is missing \(.*{UP[6:]}\)"),
    "misshaped": (
        NARROW,
        rf"of another shape \(.*{UP[6:]}: \(64, 7\), not \(64, 48\) in {WEIGHTS}",
    ),
    "extra": (
        rewritten(lambda t: t.update({"model.layers.9.mlp.up_proj.weight": t[UP].clone()})),
        rf"1 tensor is not of this model \(.*layers\.9\..*up_proj\.weight in {WEIGHTS}: a layer",
    ),
    "truncated": (
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100]),
        rf"{WEIGHTS}: cannot be read: .*",
    ),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "neither .* nor model.safetensors"),
    "a shard is gone": (
        lambda folder: (folder / f"{WEIGHTS}.index.json").write_text(
            json.dumps({"weight_map": {UP: "model-00001-of-00002.safetensors"}})
        ),
        r"model-00001-of-00002\.safetensors: cannot be read",
    ),
    "no json": (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_checkpoint_that_does_not_fit_is_refused(fault: str, tmp_path: Path) -> None:
    spoil, message = FAULTS[fault]
    config, _ = publish("llava_video/lmms-lab", tmp_path / "published")
    spoil(tmp_path / "published")
    with pytest.raises(CheckpointError, match=message) as caught:
        build_student(config)
    assert str(tmp_path / "published") in str(caught.value)


class RunsCode:
    """What a pickle may do when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def test_a_pickle_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config, _ = publish("qwen2_vl/Qwen", tmp_path / "published")
    (tmp_path / "published" / WEIGHTS).unlink()
    (tmp_path / "published" / "pytorch_model.bin").write_bytes(pickle.dumps(RunsCode()))
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is a pickle"):
        build_student(config)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_of_another_model_are_refused(layout: str, tmp_path: Path) -> None:
    publish(layout, tmp_path / "published")
    other = {"llava_video": "qwen2_vl", "qwen2_vl": "qwen2_5_vl"}.get(
        LAYOUTS[layout], "llava_video"
    )
    with pytest.raises(CheckpointError, match=r"model_type is|mm_newline_position is"):
        read_as(other, tmp_path / "published")


def test_a_student_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    config, _ = publish("llava_onevision/llava-hf", tmp_path / "published")
    save_student(build_student(config), tmp_path / "saved")
    with pytest.raises(CheckpointError, match="of kind 'llava_onevision', not 'llava_video'"):
        read_as("llava_video", tmp_path / "saved")


def test_a_tower_that_lost_its_last_layer_may_still_carry_it(tmp_path: Path) -> None:
    config, _ = publish("llava_video/lmms-lab", tmp_path / "published")
    tower = "model.vision_tower.vision_tower.vision_model"
    rewritten(
        lambda t: t.update(
            {
                f"{tower}.encoder.layers.26.mlp.fc1.bias": t[UP][0].clone(),
                f"{tower}.head.probe": t[UP][1].clone(),
            }
        )
    )(tmp_path / "published")
    assert build_student(config).width == 48


def read_as(kind: str, folder: Path) -> None:
    build_student(STUDENTS.read({"kind": kind, "size": "7b", "checkpoint": str(folder)}))


LLM_7B: dict[str, Any] = {
    "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944,
    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
}  # fmt: skip


def on_meta(model_class: type[PreTrainedModel], config: Any) -> PreTrainedModel:
    with torch.device("meta"):
        return model_class(config)


def test_every_lmms_lab_name_is_mapped_once_and_back() -> None:
    """At full size: each stored name fits at most one pattern, and no two become one."""
    model = on_meta(
        LlavaOnevisionForConditionalGeneration, lmms_lab_config(LLM_7B, (152_000, 152_001))
    )
    ours = list(model.state_dict())
    theirs = [lmms_lab_name(name) for name in ours]
    assert len(set(theirs)) == len(ours) == 765
    unchanged = []
    for name, stored in zip(ours, theirs, strict=True):
        fitting = [p for p in MODEL_NAMES if re.search(p, stored)]
        mapped = stored
        for pattern in fitting:
            mapped = re.sub(pattern, MODEL_NAMES[pattern], mapped)
        assert mapped == name
        assert len(fitting) <= 1, stored
        if not fitting:
            unchanged.append(stored)
    assert unchanged == ["model.image_newline", "lm_head.weight"]


QWEN_7B = {
    **LLM_7B,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
}
FULL_SIZE: dict[str, tuple[dict[str, Any] | None, int, int]] = {
    "llava_video": (None, 765, 8_030_348_832),
    "llava_onevision": (None, 765, 8_030_348_832),
    "qwen2_vl": ({"text_config": QWEN_7B}, 730, 8_291_375_616),
    "qwen2_5_vl": (
        {"text_config": QWEN_7B, "vision_config": {"hidden_size": 1280}},
        729,
        8_292_166_656,
    ),
    "llava_next_video": (
        {"text_config": {"model_type": "llama", "vocab_size": 32064}},
        687,
        7_063_431_168,
    ),
}
"""Configuration that differs from the defaults, tensors, and parameters, of the published 7B."""


@pytest.mark.parametrize("kind", FULL_SIZE)
def test_the_full_size_model_has_the_published_size_and_grid(kind: str) -> None:
    fields, tensors, parameters = FULL_SIZE[kind]
    config = STUDENTS.read({"kind": kind, "size": "7b", "checkpoint": "weights"})
    architecture = config.architecture()
    config_class: Any = architecture.model_class.config_class
    model_config: Any = (
        lmms_lab_config(LLM_7B, (152_000, 152_001)) if fields is None else config_class(**fields)
    )
    model: Any = on_meta(architecture.model_class, model_config)
    assert len(model.state_dict()) == tensors
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    vision = model.config.vision_config
    if hasattr(vision, "image_size"):
        assert vision.image_size == config.image_size
    rows = config.image_size // vision.patch_size
    assert config.grid == (rows + 1) // 2
    assert config.model_copy(
        update={"object_features": "both", "object_membership": "released"}
    ).patch_grid == (rows if kind in ("llava_video", "llava_onevision") else None)
