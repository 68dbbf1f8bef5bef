"""MAE: features are those of the plain encoder, the same on every call."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import ViTMAEForPreTraining, ViTMAEModel, ViTModel

from threedrs_components.pretraining.mae.pretraining import (
    initialise,
    positions,
    transformers_config,
)
from threedrs_components.teachers.mae.architecture import MAEArchitecture
from threedrs_components.teachers.mae.config import MAEConfig
from threedrs_components.teachers.pixels import normalised
from threedrs_components.teachers.registry import load_teacher
from threedrs_platform.errors import CheckpointError, ConfigError

TINY = MAEArchitecture(
    image_size=32, patch_size=8, hidden_size=16, layers=2, heads=2, decoder_hidden_size=8,
    decoder_heads=2,
)  # fmt: skip


def frames(number: int = 3, height: int = 32, width: int = 32) -> Tensor:
    return torch.rand(number, 3, height, width, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mae")
    torch.manual_seed(0)
    ViTMAEForPreTraining(transformers_config(TINY)).save_pretrained(folder)
    return folder


def test_features_equal_the_plain_encoder_of_transformers(checkpoint: Path) -> None:
    oracle: Any = ViTModel.from_pretrained(checkpoint, add_pooling_layer=False)
    oracle.eval()
    with torch.inference_mode():
        expected = oracle(normalised(frames())).last_hidden_state[:, 1:]
    features = load_teacher("mae", str(checkpoint)).features(frames())
    assert features.shape == (3, 4, 4, 16)
    torch.testing.assert_close(features.flatten(1, 2), expected, atol=1e-5, rtol=1e-5)


def test_features_equal_the_masked_model_that_masks_and_shuffles_nothing(checkpoint: Path) -> None:
    oracle: Any = ViTMAEModel.from_pretrained(checkpoint, mask_ratio=0.0)
    oracle.eval()
    with torch.inference_mode():
        in_order = torch.arange(16.0).expand(3, -1)
        expected = oracle(normalised(frames()), noise=in_order).last_hidden_state[:, 1:]
    features = load_teacher("mae", str(checkpoint)).features(frames())
    torch.testing.assert_close(features.flatten(1, 2), expected, atol=1e-5, rtol=1e-5)


def test_features_are_the_same_on_every_call(checkpoint: Path) -> None:
    teacher = load_teacher("mae", str(checkpoint))
    assert torch.equal(teacher.features(frames()), teacher.features(frames()))


def test_a_frames_features_do_not_depend_on_the_other_frames(checkpoint: Path) -> None:
    teacher = load_teacher("mae", str(checkpoint))
    alone = teacher.features(frames(20)[17:18])
    torch.testing.assert_close(teacher.features(frames(20))[17:18], alone, atol=1e-5, rtol=1e-5)


def test_a_block_of_choice_is_read_before_the_final_norm(checkpoint: Path) -> None:
    oracle: Any = ViTModel.from_pretrained(checkpoint, add_pooling_layer=False)
    oracle.eval()
    with torch.inference_mode():
        states = oracle(normalised(frames()), output_hidden_states=True).hidden_states
    features = load_teacher("mae", str(checkpoint), layer=0).features(frames())
    torch.testing.assert_close(features.flatten(1, 2), states[1][:, 1:])


def test_the_whole_frame_is_squashed_to_the_square(checkpoint: Path) -> None:
    teacher = load_teacher("mae", str(checkpoint))
    assert teacher.features(frames(1, 48, 64)).shape == (1, 4, 4, 16)
    assert "32x32" in teacher.card.preprocessing


def test_the_file_itself_stands_for_its_folder(checkpoint: Path) -> None:
    by_file = load_teacher("mae", str(checkpoint / "model.safetensors"))
    by_folder = load_teacher("mae", str(checkpoint))
    assert by_file.card == by_folder.card


def copied(checkpoint: Path, folder: Path) -> Path:
    for source in checkpoint.iterdir():
        (folder / source.name).write_bytes(source.read_bytes())
    return folder


def test_a_truncated_file_is_refused_by_name(checkpoint: Path, tmp_path: Path) -> None:
    weights = copied(checkpoint, tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read"):
        load_teacher("mae", str(tmp_path))


def test_missing_tensors_are_refused_by_name(checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = copied(checkpoint, tmp_path) / "model.safetensors"
    tensors = load_file(weights)
    tensors.pop("vit.embeddings.cls_token")
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"embeddings\.cls_token"):
        load_teacher("mae", str(tmp_path))


def test_misshapen_tensors_are_refused_by_name(checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = copied(checkpoint, tmp_path) / "model.safetensors"
    tensors = load_file(weights)
    tensors["vit.embeddings.cls_token"] = torch.zeros(1, 1, 8)
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"embeddings\.cls_token"):
        load_teacher("mae", str(tmp_path))


def test_a_file_without_its_config_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    (copied(checkpoint, tmp_path) / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        load_teacher("mae", str(tmp_path))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.safetensors or pytorch_model\.bin"):
        load_teacher("mae", str(tmp_path))


def test_without_a_checkpoint_the_cure_is_named() -> None:
    with pytest.raises(CheckpointError, match="set `checkpoint`"):
        MAEConfig().build()


def test_a_layer_beyond_the_depth_is_refused(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="no layer 2"):
        load_teacher("mae", str(checkpoint), layer=2)


@pytest.mark.parametrize(
    ("kind", "fields", "complaint"),
    [
        ("mea", {}, "did you mean 'mae'"),
        ("mae", {"licens": "MIT"}, "did you mean 'licence'"),
        ("mae", {"architecture": {"image_size": 60}}, "no multiple of patch_size"),
        ("mae", {"architecture": {"heads": 7}}, "no multiple of its 7 heads"),
        ("vggt", {"architecture": {"embed_dim": 18, "heads": 4}}, "must be a multiple of 4"),
        ("vggt", {"architecture": {"dpt_layers": [0, 1, 2, 9]}}, "dpt_layers"),
    ],
)
def test_a_wrong_configuration_says_what_would_be_right(
    kind: str, fields: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_teacher(kind, "anywhere", **fields)


def test_a_fresh_model_knows_where_its_patches_are() -> None:
    model = ViTMAEForPreTraining(transformers_config(TINY))
    initialise(model)
    for places in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
        assert not places.requires_grad
        assert places[0, 0].abs().max() == 0
        assert len({tuple(row.tolist()) for row in places[0]}) == 17


def test_positions_are_sines_and_cosines_of_column_then_row() -> None:
    code = positions(3, 8)[0, 1 + 1 * 3 + 2]
    slow = 10_000.0**-0.5
    expected = [
        *(math.sin(2), math.sin(2 * slow), math.cos(2), math.cos(2 * slow)),
        *(math.sin(1), math.sin(slow), math.cos(1), math.cos(slow)),
    ]
    torch.testing.assert_close(code, torch.tensor(expected))
