"""lmms-lab files load under transformers names, whole or not at all."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

from threedrs_components.students.checkpoints import load_student, save_student
from threedrs_components.students.config import LlavaVideoConfig
from threedrs_components.students.llava_video import LlavaVideo
from threedrs_components.students.real_weights import (
    SIGLIP_SO400M,
    lmms_lab_config,
    read_llava,
)
from threedrs_components.training.prediction import predict_scene
from threedrs_components.training.synthetic import random_samples, random_scene
from threedrs_platform.errors import CheckpointError

VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 8,
    "vision_use_head": False,
}
STORED = {
    "model_type": "llava_qwen",
    "vocab_size": 64,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rope_theta": 1000000.0,
}
TO_LMMS_LAB = (
    (r"^model\.vision_tower\.", "model.vision_tower.vision_tower.vision_model."),
    (r"^model\.multi_modal_projector\.linear_1", "model.mm_projector.0"),
    (r"^model\.multi_modal_projector\.linear_2", "model.mm_projector.2"),
    (r"^model\.language_model\.", "model."),
)


def write_tokenizer(folder: Path) -> None:
    words = ["<|im_start|>", "<|im_end|>", "system", "user", "assistant", "red", "lamp", "?"]
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    fast: Any = PreTrainedTokenizerFast
    fast(tokenizer_object=tokenizer, unk_token="?").save_pretrained(folder)


@pytest.fixture
def release(tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    """A folder as lmms-lab publishes it, and the tensors under transformers names."""
    torch.manual_seed(0)
    model = LlavaOnevisionForConditionalGeneration(lmms_lab_config(STORED, VISION))
    ours = {name: value.clone() for name, value in model.state_dict().items()}
    theirs = {}
    for name, value in ours.items():
        for pattern, replacement in TO_LMMS_LAB:
            name = re.sub(pattern, replacement, name)
        theirs[name] = value
    folder = tmp_path / "release"
    folder.mkdir()
    save_file(theirs, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(STORED))
    write_tokenizer(folder)
    return folder, ours


def test_every_tensor_arrives(release: tuple[Path, dict[str, Tensor]]) -> None:
    folder, ours = release
    model, tokenizer = read_llava(folder, torch.float32, "row", VISION)
    loaded: dict[str, Tensor] = model.state_dict()
    assert loaded.keys() == ours.keys()
    new = [tokenizer.ground_id, tokenizer.coord_id]
    for name, value in ours.items():
        if name.endswith(("embed_tokens.weight", "lm_head.weight")):
            torch.testing.assert_close(loaded[name][new], value[: new[0]].mean(0).expand(2, -1))
            assert torch.equal(loaded[name][: new[0]], value[: new[0]])
        else:
            assert torch.equal(loaded[name], value), name


@pytest.mark.parametrize("change", ["missing", "misshaped"])
def test_a_tensor_that_does_not_fit_is_named(
    release: tuple[Path, dict[str, Tensor]], change: str
) -> None:
    folder, _ = release
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    if change == "missing":
        tensors.pop(name)
    else:
        tensors[name] = tensors[name][:, :7].contiguous()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"language_model\.layers\.1\.mlp\.up_proj"):
        read_llava(folder, torch.float32, "row", VISION)


def test_an_unknown_model_type_is_refused(release: tuple[Path, dict[str, Tensor]]) -> None:
    folder, _ = release
    (folder / "config.json").write_text(json.dumps(STORED | {"model_type": "llama"}))
    with pytest.raises(CheckpointError, match="model_type is 'llama'"):
        read_llava(folder, torch.float32, "row", VISION)


def test_the_released_architecture_is_the_eight_billion_model() -> None:
    stored: dict[str, Any] = {
        "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944,
        "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
    }  # fmt: skip
    with torch.device("meta"):
        model = LlavaOnevisionForConditionalGeneration(lmms_lab_config(stored, SIGLIP_SO400M))
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(8.03e9, rel=2e-3)


def test_real_weights_answer_like_any_student(
    release: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    folder, _ = release
    model, tokenizer = read_llava(folder, torch.float32, "row", VISION)
    config = LlavaVideoConfig(
        size="7b", checkpoint=str(folder), position_encoding=True, object_features="both"
    )
    student = LlavaVideo(config, model, tokenizer).eval()
    scene = random_scene("scene", 0)
    samples = random_samples(scene, 3, 0)
    before = predict_scene(student, scene, samples, 4)
    save_student(student, tmp_path / "saved")
    after = predict_scene(load_student(tmp_path / "saved"), scene, samples, 4)
    assert before == after
    assert len(before[0].scores) == 5
