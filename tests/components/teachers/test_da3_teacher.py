"""Depth Anything 3 as a teacher: its checkpoints, features, cameras, depth and rays."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.spatial.transform import Rotation
from torch import Tensor

from threedrs_components.teachers.da3.architecture import SIZES, DA3Architecture, Reference, Size
from threedrs_components.teachers.da3.checkpoint import RAY_NORM
from threedrs_components.teachers.da3.config import DA3Config
from threedrs_components.teachers.da3.model import DA3
from threedrs_components.teachers.da3.teacher import DA3Teacher
from threedrs_components.teachers.da3.trunk import Trunk
from threedrs_components.teachers.poses import intrinsics_of, inverted, matrices_of
from threedrs_components.teachers.registry import load_teacher
from threedrs_components.testing.teacher_checkpoints import DA3_HEAD, DA3_SHAPE, write_da3
from threedrs_platform.errors import CheckpointError, ConfigError, DataError

TRUNK = "model.backbone.pretrained."


def images(scenes: int = 2, views: int = 3, height: int = 28, width: int = 42) -> Tensor:
    shape = (scenes, views, 3, height, width)
    return torch.rand(shape, generator=torch.Generator().manual_seed(5))


def written(folder: Path, trunk: DA3Architecture = DA3_SHAPE) -> tuple[DA3, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    return write_da3(folder, Size(trunk, DA3_HEAD)), folder / "model.safetensors"


def changed(path: Path, change: dict[str, Tensor | None]) -> Path:
    merged = {**load_file(path), **change}
    save_file({name: value for name, value in merged.items() if value is not None}, path)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[DA3, DA3Teacher]:
    model, path = written(tmp_path_factory.mktemp("da3"))
    return model, load_teacher("da3", str(path))


@torch.inference_mode()
def test_tokens_of_every_block_leave_the_camera_token_out(whole: tuple[DA3, DA3Teacher]) -> None:
    model, teacher = whole
    tokens = teacher.tokens(images())
    assert [tuple(layer.shape) for layer in tokens] == [(2, 3, 6, 32)] * 6
    levels, _ = model.backbone["pretrained"](images(), range(6), "balanced")
    for layer, found in enumerate(tokens):
        assert torch.equal(found, levels[layer].patches)


@torch.inference_mode()
def test_features_are_the_tokens_of_one_block_as_a_map(
    whole: tuple[DA3, DA3Teacher], tmp_path: Path
) -> None:
    _, teacher = whole
    settings: dict[str, Any] = {"image_size": 42, "layer": 3, "reference": "first"}
    chosen = load_teacher("da3", str(teacher.path), **settings)
    assert chosen.grid == 3
    features = chosen.features(images()[0])
    assert features.shape == (3, 2, 3, 32)
    expected = chosen.tokens(images()[:1])[3][0]
    torch.testing.assert_close(features.flatten(1, 2), expected, atol=1e-5, rtol=1e-5)
    half = load_teacher("da3", str(teacher.path), half="global", **settings)
    assert torch.equal(half.features(images()[0]), features[..., 16:])
    assert "normalised global half of block 3" in half.card.output
    assert "local half" not in half.card.output


def test_the_reference_view_is_recorded_with_the_features(whole: tuple[DA3, DA3Teacher]) -> None:
    path = str(whole[1].path)
    names: tuple[Reference, ...] = ("first", "middle", "balanced")
    cards = {name: load_teacher("da3", path, reference=name).card.preprocessing for name in names}
    assert all(words.endswith(f"reference view: {name}") for name, words in cards.items())
    identities = [DA3Config(checkpoint=path, reference=name).identity() for name in names]
    assert len({json.dumps(each, sort_keys=True) for each in identities}) == 3


@torch.inference_mode()
def test_another_reference_gives_other_features(whole: tuple[DA3, DA3Teacher]) -> None:
    path = str(whole[1].path)
    first, middle = (
        load_teacher("da3", path, reference=name).tokens(images())[-1]
        for name in ("first", "middle")
    )
    assert (first - middle).abs().max() > 0.01


@torch.inference_mode()
def test_depth_and_rays_come_from_the_blocks_that_the_configuration_names(
    whole: tuple[DA3, DA3Teacher],
) -> None:
    model, teacher = whole
    levels, _ = model.backbone["pretrained"](images(), DA3_HEAD.layers, "balanced")
    layers = [levels[layer].patches.flatten(0, 1) for layer in DA3_HEAD.layers]
    depth, depth_confidence = model.head.depth(layers, (28, 42))
    rays, ray_confidence = model.head.rays(layers, (28, 42))
    found, lines = teacher.depth(images()), teacher.rays(images())
    assert (found.depth.shape, lines.rays.shape) == ((2, 3, 28, 42), (2, 3, 16, 24, 6))
    for got, wanted in (
        (found.depth, depth),
        (found.confidence, depth_confidence),
        (lines.rays, rays),
        (lines.confidence, ray_confidence),
    ):
        torch.testing.assert_close(got.flatten(0, 1), wanted, atol=1e-5, rtol=1e-5)
    assert (found.depth > 0).all() and (found.confidence > 1).all()


@torch.inference_mode()
def test_the_dense_head_sees_a_few_frames_at_a_time(whole: tuple[DA3, DA3Teacher]) -> None:
    model, teacher = whole
    many = images(1, 11)
    levels, _ = model.backbone["pretrained"](many, DA3_HEAD.layers, "balanced")
    layers = [levels[layer].patches.flatten(0, 1) for layer in DA3_HEAD.layers]
    expected, _ = model.head.depth(layers, (28, 42))
    torch.testing.assert_close(teacher.depth(many).depth[0], expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_cameras_are_told_from_world_to_camera(whole: tuple[DA3, DA3Teacher]) -> None:
    model, teacher = whole
    found = teacher.cameras(images())
    levels, chosen = model.backbone["pretrained"](images(), [5], "balanced")
    x = levels[5].camera
    for index in (0, 2):
        x = torch.relu(model.cam_dec.backbone[index](x))
    places, quaternions = model.cam_dec.fc_t(x), model.cam_dec.fc_qvec(x)
    angles = torch.relu(model.cam_dec.fc_fov[0](x))
    turns = torch.from_numpy(Rotation.from_quat(quaternions.reshape(-1, 4)).as_matrix()).float()
    turns = turns.view(2, 3, 3, 3)
    torch.testing.assert_close(found.pose_encoding, torch.cat([places, quaternions, angles], -1))
    torch.testing.assert_close(found.extrinsics[..., :3], turns.mT, atol=1e-5, rtol=1e-5)
    centres = -(turns @ found.extrinsics[..., 3:]).squeeze(-1)
    torch.testing.assert_close(centres, places, atol=1e-5, rtol=1e-5)
    assert torch.equal(found.reference, chosen)


def test_there_and_back_is_where_one_was() -> None:
    pose = torch.randn(4, 9, dtype=torch.float64)
    matrices = matrices_of(pose)
    points = torch.randn(4, 3, 1, dtype=torch.float64)
    moved = matrices[..., :3] @ points + matrices[..., 3:]
    back = inverted(matrices)
    torch.testing.assert_close(back[..., :3] @ moved + back[..., 3:], points)


def test_a_field_of_view_of_nothing_has_a_finite_focal_length() -> None:
    pose = torch.tensor([0, 0, 0, 0, 0, 0, 1, 0, 2 * math.atan(0.5)])
    found = intrinsics_of(pose, 28, 42, least_tangent=1e-6)
    torch.testing.assert_close(found[1, 1], torch.tensor(14e6))
    torch.testing.assert_close(found[0], torch.tensor([42.0, 0.0, 21.0]))


@torch.inference_mode()
def test_the_norm_that_four_levels_share_is_that_of_the_first(tmp_path: Path) -> None:
    _, path = written(tmp_path)
    stored = load_file(path)
    weight = RAY_NORM.format(level=0, part="weight")
    assert weight in stored and RAY_NORM.format(level=3, part="weight") not in stored
    before = load_teacher("da3", str(path)).rays(images()).rays
    changed(path, {weight: 2 * stored[weight]})
    assert not torch.allclose(load_teacher("da3", str(path)).rays(images()).rays, before)


@torch.inference_mode()
def test_a_file_that_has_the_shared_norm_at_all_levels_is_the_same(tmp_path: Path) -> None:
    model, path = written(tmp_path)
    rays = load_teacher("da3", str(path)).rays(images()).rays
    whole = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save(whole, tmp_path / "model.pt")
    assert torch.equal(load_teacher("da3", str(tmp_path / "model.pt")).rays(images()).rays, rays)


@torch.inference_mode()
def test_heads_read_the_usual_blocks_without_a_configuration(tmp_path: Path) -> None:
    _, path = written(tmp_path)
    named = load_teacher("da3", str(path)).depth(images()).depth
    config = tmp_path / "config.json"
    config.unlink()
    assert torch.equal(load_teacher("da3", str(path)).depth(images()).depth, named)
    config.write_text(json.dumps({"config": {"net": {"out_layers": [0, 1, 2, 3]}}}))
    assert not torch.allclose(load_teacher("da3", str(path)).depth(images()).depth, named)
    config.write_text(json.dumps({"config": {"net": {"out_layers": [0, 1, 2, 6]}}}))
    with pytest.raises(CheckpointError, match=r"config\.json: out_layers .* must lie in 0\.\.5"):
        load_teacher("da3", str(path)).depth(images())
    config.write_text("[]")
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read: it holds no object"):
        load_teacher("da3", str(path)).cameras(images())


def test_a_gated_trunk_that_starts_with_all_frames_is_read_too(tmp_path: Path) -> None:
    shape = replace(DA3_SHAPE, start=3, gated=True, hidden=24)
    _, path = written(tmp_path, shape)
    assert load_teacher("da3", str(path)).architecture == shape


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("small", "Apache-2.0"),
        ("base", "Apache-2.0"),
        ("large", "CC BY-NC 4.0"),
        ("giant", "CC BY-NC 4.0"),
    ],
)
def test_the_card_carries_the_licence_of_the_size(name: str, licence: str) -> None:
    with torch.device("meta"):
        trunk = Trunk(SIZES[name].trunk)
    config = DA3Config(checkpoint="released")
    assert DA3Teacher(trunk, config, Path("released"), "").card.licence == licence
    chosen = config.model_copy(update={"licence": "mine"})
    assert DA3Teacher(trunk, chosen, Path("released"), "").card.licence == "mine"


NESTED = {"model.da3.backbone.pretrained.cls_token": torch.zeros(1)}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({f"{TRUNK}blocks.1.norm1.weight": None}, "1 missing: model.*blocks.1.norm1.weight"),
        (
            {f"{TRUNK}blocks.3.attn.proj.bias": torch.zeros(3)},
            r"1 of another shape: .*blocks.3.attn.proj.bias \[3\] instead of \[16\]",
        ),
        ({f"{TRUNK}mask_token": torch.zeros(1)}, r"1 unknown: model\..*mask_token"),
        ({"model.sky_head.weight": torch.zeros(1)}, r"1 unknown: model\.sky_head\.weight"),
        ({f"{TRUNK}pos_embed": None}, "no tensor 'model.*pos_embed', so this is no Depth Anything"),
        ({f"{TRUNK}patch_embed.proj.weight": torch.zeros(3)}, "tensors of no Depth Anything 3's"),
        (NESTED, r"a nested Depth Anything 3 .* take depth-anything/DA3-SMALL, .*GIANT-1\.1"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(
    change: dict[str, Tensor | None], complaint: str, tmp_path: Path
) -> None:
    _, path = written(tmp_path)
    with pytest.raises(CheckpointError, match=complaint) as caught:
        load_teacher("da3", str(changed(path, change)))
    assert str(path) in str(caught.value)


def of_single_frames(path: Path) -> Path:
    """As the metric and mono models: no camera token, nothing that only views need."""
    kept = {
        name: value
        for name, value in load_file(path).items()
        if not any(word in name for word in ("camera_token", "q_norm", "k_norm", "cam_", "_aux"))
    }
    save_file(kept, path)
    return path


def test_a_model_for_single_frames_is_refused_with_the_cure(tmp_path: Path) -> None:
    path = of_single_frames(written(tmp_path)[1])
    with pytest.raises(CheckpointError) as caught:
        load_teacher("da3", str(path))
    told = str(caught.value)
    assert "a Depth Anything 3 for single frames (DA3METRIC-*, DA3MONO-*)" in told
    assert "take depth-anything/DA3-SMALL, DA3-BASE, DA3-LARGE-1.1 or DA3-GIANT-1.1" in told


@pytest.mark.parametrize("spoil", ["single", "nested"])
def test_headers_are_enough_to_refuse_another_model(spoil: str, tmp_path: Path) -> None:
    _, path = written(tmp_path)
    _ = of_single_frames(path) if spoil == "single" else changed(path, dict(NESTED))
    with pytest.raises(CheckpointError, match=r"a nested|for single frames"):
        DA3Config(checkpoint=str(path)).own_grid()


def test_the_grid_is_known_before_the_weights_are_read(tmp_path: Path) -> None:
    _, path = written(tmp_path)
    absent = str(tmp_path / "nowhere")
    for checkpoint in (str(path), str(tmp_path), absent):
        assert DA3Config(checkpoint=checkpoint).own_grid((1, 1)) == 36
        assert DA3Config(checkpoint=checkpoint).own_grid((3, 4)) == 27
        assert DA3Config(checkpoint=checkpoint, image_size=98).own_grid((1, 1)) == 7
        with pytest.raises(ConfigError, match=r"500 is no multiple .* 14; take 490 or 504"):
            DA3Config(checkpoint=checkpoint, image_size=500).own_grid()


def test_an_image_size_of_no_whole_patches_is_refused(tmp_path: Path) -> None:
    _, path = written(tmp_path)
    with pytest.raises(ConfigError, match=r"teacher\.image_size: 500 is no multiple"):
        load_teacher("da3", str(path), image_size=500)


@pytest.mark.parametrize("layer", [6, -7])
def test_a_layer_that_is_none_is_refused(layer: int, tmp_path: Path) -> None:
    _, path = written(tmp_path)
    with pytest.raises(CheckpointError, match=rf"has blocks 0\.\.5, so there is no layer {layer}"):
        load_teacher("da3", str(path), layer=layer)


@pytest.mark.parametrize("shape", [(3, 3, 28, 28), (1, 3, 3, 30, 28), (1, 3, 3, 28, 29)])
def test_images_of_a_wrong_shape_are_refused(
    shape: tuple[int, ...], whole: tuple[DA3, DA3Teacher]
) -> None:
    with pytest.raises(DataError, match=r"expected (\[scenes, frames, 3, H, W\]|multiples)"):
        whole[1].tokens(torch.rand(shape))


@pytest.mark.parametrize(
    ("part", "ask"), [("head.norm.weight", "rays"), ("cam_dec.fc_t.bias", "cameras")]
)
def test_a_head_is_read_when_it_is_asked_for_and_refused_by_name(
    part: str, ask: str, tmp_path: Path
) -> None:
    _, path = written(tmp_path)
    changed(path, {f"model.{part}": torch.zeros(5)})
    teacher = load_teacher("da3", str(path), image_size=28)
    assert teacher.features(images()[0]).shape == (3, 1, 2, 32)
    with pytest.raises(CheckpointError, match=rf"1 of another shape: model\.{part} \[5\]"):
        getattr(teacher, ask)(images())
