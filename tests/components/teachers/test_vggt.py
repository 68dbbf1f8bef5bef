"""VGGT: the released sizes and keys, its parts against independent ones, and its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from threedrs_components.teachers.dense_prediction import Fusion, ResidualUnit
from threedrs_components.teachers.transformer import Rotation
from threedrs_components.teachers.vggt.architecture import VGGT_1B, VGGTArchitecture
from threedrs_components.teachers.vggt.layers import Aggregator, VisionTransformer
from threedrs_components.teachers.vggt.model import VGGT

TINY = VGGTArchitecture(
    image_size=32, patch_size=8, embed_dim=16, heads=2, patch_embed_depth=1, depth=2,
    mlp_ratio=2.0, dpt_layers=(0, 0, 1, 1),
)  # fmt: skip


def tiny(seed: int = 0, architecture: VGGTArchitecture = TINY) -> VGGT:
    torch.manual_seed(seed)
    return VGGT(architecture, scale=1.0).eval()


def frames(number: int = 3, height: int = 32, width: int = 32) -> Tensor:
    return torch.rand(number, 3, height, width, generator=torch.Generator().manual_seed(5))


def num_values(module: nn.Module) -> int:
    return sum(tensor.numel() for tensor in module.state_dict().values())


@pytest.fixture(scope="module")
def full_size() -> VGGT:
    with torch.device("meta"):
        return VGGT(VGGT_1B)


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("aggregator", 909_112_320),
        ("camera_head", 216_174_610),
        ("depth_head", 32_654_562),
        ("point_head", 32_654_628),
        ("track_head", 65_941_396),
        ("aggregator.patch_embed", 304_372_736),
    ],
)
def test_every_part_has_the_released_number_of_values(
    full_size: VGGT, part: str, values: int
) -> None:
    assert num_values(full_size.get_submodule(part)) == values


def test_the_whole_model_has_the_released_number_of_keys_and_values(full_size: VGGT) -> None:
    assert len(full_size.state_dict()) == 1_797
    assert num_values(full_size) == 1_256_537_516


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("aggregator.camera_token", [1, 2, 1, 1024]),
        ("aggregator.register_token", [1, 2, 4, 1024]),
        ("aggregator.patch_embed.pos_embed", [1, 1370, 1024]),
        ("aggregator.patch_embed.patch_embed.proj.weight", [1024, 3, 14, 14]),
        ("aggregator.patch_embed.register_tokens", [1, 4, 1024]),
        ("aggregator.patch_embed.mask_token", [1, 1024]),
        ("aggregator.patch_embed.blocks.23.ls2.gamma", [1024]),
        ("aggregator.frame_blocks.0.attn.q_norm.weight", [64]),
        ("aggregator.global_blocks.23.mlp.fc1.weight", [4096, 1024]),
        ("camera_head.poseLN_modulation.1.weight", [6144, 2048]),
        ("camera_head.pose_branch.fc2.bias", [9]),
        ("depth_head.scratch.refinenet1.resConfUnit1.conv2.bias", [256]),
        ("point_head.scratch.output_conv2.2.weight", [4, 32, 1, 1]),
        ("track_head.tracker.corr_mlp.fc1.weight", [384, 567]),
        ("track_head.tracker.updateformer.virual_tracks", [1, 64, 1, 384]),
        ("track_head.feature_extractor.scratch.output_conv1.weight", [128, 128, 3, 3]),
    ],
)
def test_keys_and_shapes_are_the_released_ones(full_size: VGGT, key: str, shape: list[int]) -> None:
    assert list(full_size.state_dict()[key].shape) == shape


def oracle_weights(vit: VisionTransformer) -> dict[str, Tensor]:
    """Our ViT's weights under transformers' names, query, key and value apart."""
    ours = vit.state_dict()
    theirs = {
        "embeddings.cls_token": ours["cls_token"],
        "embeddings.mask_token": ours["mask_token"],
        "embeddings.register_tokens": ours["register_tokens"],
        "embeddings.position_embeddings": ours["pos_embed"],
        "embeddings.patch_embeddings.projection.weight": ours["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": ours["patch_embed.proj.bias"],
        "layernorm.weight": ours["norm.weight"],
        "layernorm.bias": ours["norm.bias"],
    }
    names = {
        "norm1": "norm1", "norm2": "norm2", "attn.proj": "attention.output.dense",
        "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
    }  # fmt: skip
    for index in range(len(vit.blocks)):
        here, there = f"blocks.{index}", f"encoder.layer.{index}"
        for name, other in names.items():
            for kind in ("weight", "bias"):
                theirs[f"{there}.{other}.{kind}"] = ours[f"{here}.{name}.{kind}"]
        for kind in ("weight", "bias"):
            thirds = ours[f"{here}.attn.qkv.{kind}"].chunk(3)
            for part, value in zip(("query", "key", "value"), thirds, strict=True):
                theirs[f"{there}.attention.attention.{part}.{kind}"] = value
        for scale in ("1", "2"):
            theirs[f"{there}.layer_scale{scale}.lambda1"] = ours[f"{here}.ls{scale}.gamma"]
    return theirs


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40)])
def test_the_patch_embedding_is_dinov2_with_registers(
    tmp_path: Path, height: int, width: int
) -> None:
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    torch.manual_seed(1)
    vit = VisionTransformer(TINY).eval()
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=0.3)
    config = Dinov2WithRegistersConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, mlp_ratio=2,
        image_size=32, patch_size=8, num_register_tokens=4,
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    save_file(
        {name: value.contiguous() for name, value in oracle_weights(vit).items()},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    loaded: Any = Dinov2WithRegistersModel.from_pretrained(tmp_path, output_loading_info=True)
    oracle, info = loaded
    assert not info["missing_keys"] and not info["unexpected_keys"]
    images = frames(2, height, width)
    with torch.inference_mode():
        expected = oracle.eval()(images).last_hidden_state[:, 5:]
        torch.testing.assert_close(vit(images), expected, atol=1e-5, rtol=1e-5)


def test_rope_rotates_each_pair_by_position_times_frequency() -> None:
    rotation = Rotation.of_grid(2, 3, specials=1, head_dim=8)
    x = torch.randn(7, 8)
    places = [(0, 0), (1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    for token, place in enumerate(places):
        for axis in range(2):
            for pair in range(2):
                angle = torch.tensor(place[axis] * 100.0 ** (-2 * pair / 4))
                a, b = x[token, 4 * axis + pair], x[token, 4 * axis + pair + 2]
                turned = rotation(x)[token]
                expected = a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()
                torch.testing.assert_close(turned[4 * axis + pair], expected[0])
                torch.testing.assert_close(turned[4 * axis + pair + 2], expected[1])


def test_attention_with_rope_depends_on_relative_places_only() -> None:
    near, far = Rotation.of_grid(6, 6, 0, 8), torch.arange(36).view(6, 6)
    query, key = torch.randn(36, 8), torch.randn(36, 8)
    query[:], key[:] = query[0].clone(), key[0].clone()
    scores = near(query) @ near(key).T
    shifted = scores[far[2:, 2:].flatten()][:, far[2:, 2:].flatten()]
    here = scores[far[:4, :4].flatten()][:, far[:4, :4].flatten()]
    torch.testing.assert_close(shifted, here, atol=1e-5, rtol=1e-5)


def test_a_layer_is_the_frame_half_beside_the_global_half() -> None:
    model = tiny()
    with torch.inference_mode():
        kept = model.aggregator(frames().unsqueeze(0), [0, 1])
    assert {layer: tuple(x.shape) for layer, x in kept.items()} == {
        0: (1, 3, 5 + 16, 32),
        1: (1, 3, 5 + 16, 32),
    }


def test_only_chosen_layers_are_kept() -> None:
    assert set(tiny().aggregator(frames().unsqueeze(0), [1])) == {1}


@torch.inference_mode()
def test_frames_after_the_first_may_change_places_but_the_first_is_the_reference() -> None:
    aggregator = tiny().aggregator
    aggregator.camera_token.copy_(torch.randn_like(aggregator.camera_token))
    images = frames(3)

    def features(order: list[int]) -> Tensor:
        out: Tensor = aggregator(images[order].unsqueeze(0), [1])[1][0]
        return out

    straight = features([0, 1, 2])
    torch.testing.assert_close(features([0, 2, 1])[[0, 2, 1]], straight, atol=1e-5, rtol=1e-5)
    assert (features([1, 0, 2])[[1, 0, 2]] - straight).abs().max() > 0.01


@torch.inference_mode()
def test_scenes_of_a_batch_do_not_see_each_other() -> None:
    aggregator = tiny().aggregator
    first, second = frames(2).unsqueeze(0), 1 - frames(2).unsqueeze(0)
    both = aggregator(torch.cat([first, second]), [1])[1]
    alone = aggregator(second, [1])[1]
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-5)


def test_chunking_the_vit_moves_features_by_rounding_only() -> None:
    aggregator = tiny().aggregator
    many = frames(11)
    whole = aggregator.patch_tokens(many)
    with torch.inference_mode():
        torch.testing.assert_close(aggregator.patch_tokens(many), whole, atol=1e-5, rtol=1e-5)


def test_the_residual_unit_carries_the_rectified_input_like_an_in_place_relu() -> None:
    unit = ResidualUnit(4, rectified_skip=True)
    x = torch.randn(1, 4, 5, 5)
    careless = x.clone()
    inner = unit.conv2(F.relu(unit.conv1(F.relu(careless, inplace=True))))
    torch.testing.assert_close(unit(x), inner + careless)


def test_the_coarsest_fusion_has_no_skip_unit() -> None:
    coarsest = Fusion(4, has_finer=False, rectified_skip=True)
    assert not any("resConfUnit1" in name for name in coarsest.state_dict())


@pytest.mark.parametrize(("dense_head", "size"), [("dpt", (24, 32)), ("cells", (6, 8))])
def test_heads_give_one_value_per_place(dense_head: str, size: tuple[int, int]) -> None:
    architecture = TINY.model_copy(update={"dense_head": dense_head})
    with torch.inference_mode():
        found = tiny(architecture=architecture)(frames(2, 24, 32).unsqueeze(0))
    assert found.depth.shape == (1, 2, *size, 1)
    assert found.points.shape == (1, 2, *size, 3)
    assert found.pose.shape == (1, 2, 9)
    assert (found.depth > 0).all()
    assert (found.depth_confidence > 1).all()
    assert (found.pose[..., 7:] >= 0).all()


@torch.inference_mode()
def test_cells_lie_where_their_patch_lies() -> None:
    model = tiny(architecture=TINY.model_copy(update={"image_size": 16}))
    tokens = torch.zeros(1, 1, 5 + 4, 32)
    empty, _ = model.depth_head({1: tokens}, 5, (16, 16), 8)
    tokens[0, 0, 5 + 1] = torch.randn(32)
    depth, _ = model.depth_head({1: tokens}, 5, (16, 16), 8)
    changed = (depth != empty)[0, 0, :, :, 0]
    assert changed[:2, 2:].all()
    assert int(changed.sum()) == 4


def test_an_aggregator_of_one_frame_works() -> None:
    assert Aggregator(TINY)(frames(1).unsqueeze(0), [0])[0].shape == (1, 1, 21, 32)
