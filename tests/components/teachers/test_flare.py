"""FLARE: the released sizes, its parts against independent ones, its stages and its checkpoints."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from threedrs_components.teachers.flare.layers import (
    CrossAttention,
    PoseBlock,
    PoseHead,
    harmonic,
)
from threedrs_components.teachers.flare.teacher import FLARE, FLARESizes
from threedrs_components.teachers.registry import load_teacher
from threedrs_components.teachers.transformer import Rotation
from threedrs_components.testing.teacher_checkpoints import write_tiny_checkpoint
from threedrs_platform.errors import CheckpointError, ConfigError

RELEASED = 1_409_884_503
"""Values of geometry_pose.pth."""
UNUSED = {
    "patch_embed_coarse": 1024 * 1024 * 4 + 1024,
    "patch_embed_test_": 3 * 64 * 64 * 1024 + 1024,
    "enc_blocks_stage2 and its norm": 4 * 12_596_224 + 2048,
    "mask_token and dec_norm": 768 + 1536,
    "cnn": 48_696 + 9_232 + 55_360,
}
"""What the released file holds besides the dense heads, and no feature reads."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint("flare", tmp_path_factory.mktemp("flare"))


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> FLARE:
    loaded: Any = load_teacher("flare", str(checkpoint))
    assert isinstance(loaded.model, FLARE)
    return loaded.model


def frames(number: int = 3, height: int = 128, width: int = 256) -> Tensor:
    return torch.rand(number, 3, height, width, generator=torch.Generator().manual_seed(5))


def test_at_the_released_widths_only_dense_heads_are_left_out() -> None:
    with torch.device("meta"):
        whole = FLARE(FLARESizes(encoder=1024, patch=16, decoder=768, harmonics=42))
    values = sum(tensor.numel() for tensor in whole.state_dict().values())
    heads = RELEASED - values - sum(UNUSED.values())
    assert round(heads / 1e6, 1) == 164.5


def test_a_pose_becomes_sines_then_cosines_of_octaves_then_itself() -> None:
    found = harmonic(torch.tensor([0.3, -2.0]), 3)
    sines = [math.sin(x * 2**octave) for x in (0.3, -2.0) for octave in range(3)]
    cosines = [math.cos(x * 2**octave) for x in (0.3, -2.0) for octave in range(3)]
    torch.testing.assert_close(found, torch.tensor([*sines, *cosines, 0.3, -2.0]))


def test_cross_attention_without_places_is_torchs() -> None:
    torch.manual_seed(0)
    ours, theirs = CrossAttention(128), nn.MultiheadAttention(128, 2, batch_first=True)
    with torch.no_grad():
        parts = (ours.projq, ours.projk, ours.projv)
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    theirs.out_proj.load_state_dict(ours.proj.state_dict())
    x, memory = torch.randn(2, 5, 128), torch.randn(2, 7, 128)
    nowhere = [Rotation(torch.ones(n, 2, 16), torch.zeros(n, 2, 16)) for n in (5, 7)]
    torch.testing.assert_close(ours(x, memory, *nowhere), theirs(x, memory, memory)[0])


def test_the_pose_blocks_skip_path_carries_normalised_tokens() -> None:
    torch.manual_seed(0)
    block = PoseBlock(16, 2)
    x = torch.randn(1, 4, 16)
    torch.testing.assert_close(block(100 * x + 3), block(x), atol=1e-4, rtol=1e-4)


def test_the_pose_head_knows_which_view_is_the_reference() -> None:
    torch.manual_seed(0)
    head = PoseHead(16, 4).eval()
    nn.init.normal_(head.pose_token_ref)
    tokens = torch.randn(3, 16)
    poses = head(tokens)
    assert poses.shape == (3, 9)
    torch.testing.assert_close(head(tokens[[0, 2, 1]])[[0, 2, 1]], poses, atol=1e-4, rtol=1e-4)
    assert (head(tokens[[1, 0, 2]])[[1, 0, 2]] - poses).abs().max() > 1e-3


@torch.inference_mode()
def test_stages_are_24_and_12_and_12_layers_on_the_patch_grid(model: FLARE) -> None:
    outputs = model.stages(frames())
    assert {stage: len(layers) for stage, layers in outputs.items()} == {1: 24, 2: 12, 3: 12}
    assert {tuple(layer.shape) for layers in outputs.values() for layer in layers} == {(3, 32, 16)}


@torch.inference_mode()
def test_the_encoder_sees_each_view_alone_and_the_decoders_all(model: FLARE) -> None:
    changed = frames()
    changed[2] = 1 - changed[2]
    before, after = model.stages(frames()), model.stages(changed)
    torch.testing.assert_close(after[1][-1][:2], before[1][-1][:2], atol=1e-5, rtol=1e-5)
    for stage in (2, 3):
        assert (after[stage][-1][:2] - before[stage][-1][:2]).abs().max() > 1e-3


@torch.inference_mode()
def test_the_first_frame_is_the_reference(model: FLARE) -> None:
    straight = model.stages(frames())[3][-1]
    reference_moved = model.stages(frames()[[1, 0, 2]])[3][-1][[1, 0, 2]]
    assert (reference_moved - straight).abs().max() > 1e-3


@torch.inference_mode()
@pytest.mark.parametrize("stage", [2, 3])
def test_encoder_states_are_injected_behind_layers_2_5_and_8(stage: int, model: FLARE) -> None:
    before = model.stages(frames())[stage]
    injection = model.get_submodule(f"inject_stage{stage}.1")
    assert isinstance(injection, nn.Linear)
    kept = injection.weight.clone()
    injection.weight.zero_()
    after = model.stages(frames())[stage]
    injection.weight.copy_(kept)
    assert all(torch.equal(after[layer], before[layer]) for layer in range(5))
    assert (after[5] - before[5]).abs().max() > 1e-4


@pytest.mark.parametrize(("stage", "channels"), [("1", 16), ("2", 16), ("3", 16), ("1+3", 32)])
def test_each_stage_gives_512_by_384_pixels_of_tokens(
    stage: str, channels: int, checkpoint: Path
) -> None:
    teacher = load_teacher("flare", str(checkpoint), stage=stage)
    assert teacher.features(frames(2, 48, 64)).shape == (2, 12, 16, channels)
    assert f"stage {stage}" in teacher.card.output


def test_both_stages_together_are_the_two_side_by_side(checkpoint: Path) -> None:
    images = frames(2, 48, 64)
    one, three, both = (
        load_teacher("flare", str(checkpoint), stage=stage).features(images)
        for stage in ("1", "3", "1+3")
    )
    torch.testing.assert_close(both, torch.cat([one, three], -1), atol=1e-5, rtol=1e-5)


def test_passes_share_the_first_frame(checkpoint: Path) -> None:
    images = frames(4, 48, 64)
    whole = load_teacher("flare", str(checkpoint))
    parts = load_teacher("flare", str(checkpoint), frames_per_pass=3)
    found = parts.features(images)
    torch.testing.assert_close(found[:3], whole.features(images[:3]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[3:], whole.features(images[[0, 3]])[1:], atol=1e-5, rtol=1e-5)


def test_a_frame_alone_is_its_own_partner(checkpoint: Path) -> None:
    teacher = load_teacher("flare", str(checkpoint))
    assert teacher.features(frames(1, 48, 64)).shape == (1, 12, 16, 16)


def test_a_pass_of_one_frame_is_refused() -> None:
    with pytest.raises(ConfigError, match="1 frame has nothing to attend to"):
        load_teacher("flare", "anywhere", frames_per_pass=1)


@pytest.mark.parametrize(
    ("stage", "layer", "choices"), [("3", 12, r"0\.\.11 or -1"), ("1+3", 0, "none of -1")]
)
def test_a_layer_that_is_not_there_is_refused(
    stage: str, layer: int, choices: str, checkpoint: Path
) -> None:
    with pytest.raises(CheckpointError, match=choices):
        load_teacher("flare", str(checkpoint), stage=stage, layer=layer)


def state_of(checkpoint: Path) -> dict[str, Tensor]:
    content: dict[str, dict[str, Tensor]] = torch.load(checkpoint, weights_only=True)
    return content["model"]


def test_arguments_of_the_training_beside_the_weights_do_no_harm(
    checkpoint: Path, tmp_path: Path
) -> None:
    content = {"model": state_of(checkpoint), "args": argparse.Namespace(model="FLARE")}
    torch.save(content, tmp_path / "geometry_pose.pth")
    assert load_teacher("flare", str(tmp_path)).grid == 16


def test_safetensors_of_the_same_tensors_are_read(checkpoint: Path, tmp_path: Path) -> None:
    save_file(state_of(checkpoint), tmp_path / "model.safetensors")
    first = load_teacher("flare", str(checkpoint), stage="1")
    second = load_teacher("flare", str(tmp_path), stage="1")
    images = frames(1, 48, 64)
    assert torch.equal(second.features(images), first.features(images))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"dec_norm_point.weight": None}, "1 missing: dec_norm_point.weight"),
        (
            {"pose_head.trunk.0.attn.in_proj_bias": torch.zeros(3)},
            r"1 of another shape: pose_head.trunk.0.attn.in_proj_bias \[3\] instead of \[48\]",
        ),
        ({"patch_embed.proj.weight": None}, "no tensor 'patch_embed.proj.weight', so this is no"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(
    change: dict[str, Tensor | None], complaint: str, checkpoint: Path, tmp_path: Path
) -> None:
    merged = {**state_of(checkpoint), **change}
    tensors = {name: value for name, value in merged.items() if value is not None}
    torch.save({"model": tensors}, tmp_path / "geometry_pose.pth")
    with pytest.raises(CheckpointError, match=rf"geometry_pose\.pth: .*{complaint}"):
        load_teacher("flare", str(tmp_path))


def test_a_pickle_that_wants_code_is_refused(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> Any:
            import os

            return os.system, ("exit 3",)

    torch.save({"model": {"patch_embed.proj.weight": Code()}}, tmp_path / "geometry_pose.pth")
    with pytest.raises(CheckpointError, match=r"geometry_pose\.pth: not a readable checkpoint"):
        load_teacher("flare", str(tmp_path))
