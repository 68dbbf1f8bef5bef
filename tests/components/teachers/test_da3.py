"""Depth Anything 3: the released sizes and keys, and its parts against plain independent ones."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from threedrs_components.teachers.da3.architecture import (
    SIZES,
    DA3Architecture,
    DenseSizes,
    Reference,
    Size,
    licence_of,
    usual_layers,
)
from threedrs_components.teachers.da3.checkpoint import RAY_NORM
from threedrs_components.teachers.da3.heads import DualDPT
from threedrs_components.teachers.da3.model import DA3
from threedrs_components.teachers.da3.trunk import Trunk, reference_views
from threedrs_components.teachers.dense_prediction import ResidualUnit

EVEN = DA3Architecture(16, 2, depth=6, start=2, hidden=24, image_size=56)
ODD = DA3Architecture(16, 2, depth=6, start=3, hidden=24, gated=True, image_size=56)
"""As the giant one: it starts with a block over all frames, and its feed-forward is gated."""
HEAD = DenseSizes(features=8, channels=(4, 8, 12, 16), layers=(2, 3, 4, 5))


def random(module: nn.Module, std: float = 0.4) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data.normal_(std=std, generator=generator)
    return module.eval().requires_grad_(False)


def trunk(architecture: DA3Architecture = EVEN) -> Trunk:
    made = random(Trunk(architecture))
    assert isinstance(made, Trunk)
    return made


def frames(scenes: int = 1, views: int = 4, rows: int = 3, columns: int = 5) -> Tensor:
    shape = (scenes, views, 3, 14 * rows, 14 * columns)
    return torch.rand(shape, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def full_sizes() -> dict[str, DA3]:
    with torch.device("meta"):
        return {name: DA3(size) for name, size in SIZES.items()}


GAUSSIAN_HEAD = {"giant": 35_628_486}
"""Values of the one head that nothing here builds."""


@pytest.mark.parametrize(
    ("name", "values", "trunk_values", "tensors"),
    [
        ("small", 34_299_463, 22_059_008, 437),
        ("base", 135_366_599, 86_583_296, 437),
        ("large", 410_941_767, 304_373_760, 637),
        ("giant", 1_355_674_125, 1_136_489_216, 905),
    ],
)
def test_every_size_has_the_released_number_of_values(
    name: str, values: int, trunk_values: int, tensors: int, full_sizes: dict[str, DA3]
) -> None:
    model = full_sizes[name]
    assert sum(p.numel() for p in model.parameters()) + GAUSSIAN_HEAD.get(name, 0) == values
    assert sum(p.numel() for p in model.backbone.parameters()) == trunk_values
    shared = {RAY_NORM.format(level=n, part=p) for n in (1, 2, 3) for p in ("weight", "bias")}
    assert len({f"model.{key}" for key in model.state_dict()} - shared) == tensors


@pytest.mark.parametrize(
    ("size", "key", "shape"),
    [
        ("small", "backbone.pretrained.camera_token", [1, 2, 384]),
        ("small", "backbone.pretrained.pos_embed", [1, 1370, 384]),
        ("base", "backbone.pretrained.patch_embed.proj.weight", [768, 3, 14, 14]),
        ("base", "backbone.pretrained.blocks.4.attn.q_norm.weight", [64]),
        ("large", "backbone.pretrained.blocks.23.mlp.fc1.weight", [4096, 1024]),
        ("giant", "backbone.pretrained.blocks.39.mlp.w12.weight", [8192, 1536]),
        ("giant", "backbone.pretrained.blocks.0.mlp.w3.weight", [1536, 4096]),
        ("large", "head.resize_layers.3.weight", [1024, 1024, 3, 3]),
        ("large", "head.scratch.layer4_rn.weight", [256, 1024, 3, 3]),
        ("large", "head.scratch.refinenet3_aux.resConfUnit1.conv2.bias", [256]),
        ("small", "head.scratch.output_conv2.2.weight", [2, 32, 1, 1]),
        ("small", "head.scratch.output_conv1_aux.0.1.weight", [64, 32, 3, 3]),
        ("small", "head.scratch.output_conv2_aux.0.2.weight", [32]),
        ("small", "head.scratch.output_conv2_aux.3.5.weight", [7, 32, 1, 1]),
        ("large", "cam_dec.fc_fov.0.weight", [2, 2048]),
        ("small", "cam_enc.pose_branch.fc1.weight", [192, 9]),
        ("small", "cam_enc.trunk.3.ls2.gamma", [384]),
    ],
)
def test_keys_and_shapes_are_the_released_ones(
    size: str, key: str, shape: list[int], full_sizes: dict[str, DA3]
) -> None:
    assert list(full_sizes[size].state_dict()[key].shape) == shape


def test_blocks_before_the_camera_token_normalise_no_queries(full_sizes: dict[str, DA3]) -> None:
    for name, first in (("small", 4), ("base", 4), ("large", 8), ("giant", 13)):
        keys = full_sizes[name].state_dict()
        normalised = {int(key.split(".")[3]) for key in keys if "attn.q_norm.weight" in key}
        assert normalised == set(range(first, SIZES[name].trunk.depth))


def test_some_blocks_look_at_all_frames() -> None:
    found = {
        name: [n for n in range(size.trunk.depth) if size.trunk.is_global(n)]
        for name, size in SIZES.items()
    }
    assert found["small"] == found["base"] == [5, 7, 9, 11]
    assert found["large"] == [9, 11, 13, 15, 17, 19, 21, 23]
    assert found["giant"] == list(range(13, 40, 2))


def test_the_free_sizes_are_the_small_ones() -> None:
    licences = {name: licence_of(size.trunk.embed_dim) for name, size in SIZES.items()}
    assert licences == {
        "small": "Apache-2.0",
        "base": "Apache-2.0",
        "large": "CC BY-NC 4.0",
        "giant": "CC BY-NC 4.0",
    }


def test_the_heads_of_a_model_of_another_depth_read_its_later_half() -> None:
    assert usual_layers(24) == (11, 15, 19, 23)
    assert usual_layers(40) == (19, 27, 33, 39)
    assert usual_layers(6) == (2, 3, 4, 5)


# -- the trunk, written down once more: views are reordered, heads taken one at a time -----------


def plain_norm(x: Tensor, layer: Any, eps: float) -> Tensor:
    spread = (x - x.mean(-1, keepdim=True)).square().mean(-1, keepdim=True)
    normed: Tensor = (x - x.mean(-1, keepdim=True)) / (spread + eps).sqrt()
    weighed: Tensor = normed * layer.weight + layer.bias
    return weighed


def turned(x: Tensor, place: tuple[int, int]) -> Tensor:
    """One head's query or key [d], turned by its place (y, x)."""
    quarter, out = len(x) // 4, x.clone()
    for axis in range(2):
        for pair in range(quarter):
            angle = torch.tensor(place[axis] * 100.0 ** (-pair / quarter))
            i = 2 * axis * quarter + pair
            a, b = x[i], x[i + quarter]
            out[i] = a * angle.cos() - b * angle.sin()
            out[i + quarter] = b * angle.cos() + a * angle.sin()
    return out


def plain_attention(x: Tensor, block: Any, places: list[tuple[int, int]] | None) -> Tensor:
    """[N, C] of one sequence."""
    attention = block.attn
    heads, width = 2, x.shape[-1] // 2
    linear, out = attention.qkv, []
    query, key, value = F.linear(x, linear.weight, linear.bias).chunk(3, -1)
    for head in range(heads):
        q, k, v = (each[:, head * width : (head + 1) * width] for each in (query, key, value))
        if places is not None:
            q, k = (
                plain_norm(each, getattr(attention, name), 1e-5)
                for each, name in ((q, "q_norm"), (k, "k_norm"))
            )
            q, k = (
                torch.stack([turned(row, place) for row, place in zip(each, places, strict=True)])
                for each in (q, k)
            )
        out.append((q @ k.T / width**0.5).softmax(-1) @ v)
    mixed: Tensor = attention.proj(torch.cat(out, -1))
    return mixed


def plain_block(x: Tensor, block: Any, places: list[tuple[int, int]] | None) -> Tensor:
    normed = plain_norm(x, block.norm1, 1e-6)
    x = x + plain_attention(normed, block, places) * block.ls1.gamma
    normed = plain_norm(x, block.norm2, 1e-6)
    mlp = block.mlp
    if hasattr(mlp, "w12"):
        both = mlp.w12(normed)
        half = both.shape[-1] // 2
        inner = both[:, :half] * both[:, :half].sigmoid() * both[:, half:]
        fed = mlp.w3(inner)
    else:
        fed = mlp.fc2(F.gelu(mlp.fc1(normed)))
    after: Tensor = x + fed * block.ls2.gamma
    return after


def cubic(t: float) -> float:
    t, a = abs(t), -0.75
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0


def samples(size: int, side: int) -> Tensor:
    """[size, side] weights of the table's entries for a grid of another size."""
    weights, scale = torch.zeros(size, side), (size + 0.1) / side
    for place in range(size):
        centre = (place + 0.5) / scale - 0.5
        lowest = int(torch.tensor(centre).floor())
        for entry in range(lowest - 1, lowest + 3):
            weights[place, min(max(entry, 0), side - 1)] += cubic(centre - entry)
    return weights


def plain_positions(model: Trunk, rows: int, columns: int) -> Tensor:
    side = model.architecture.side
    table = torch.unflatten(model.pos_embed[0, 1:], 0, (side, side))
    if (rows, columns) != (side, side):
        table = torch.einsum("ri,cj,ijd->rcd", samples(rows, side), samples(columns, side), table)
    return torch.cat([model.pos_embed[0, :1], table.flatten(0, 1)])


def plain_reference(tokens: Tensor) -> int:
    """ "balanced", from the class tokens [S, C] of one scene."""
    views = len(tokens)
    unit = [token / token.square().sum().sqrt() for token in tokens]
    cosines = [
        sum(float(unit[i] @ unit[j]) for j in range(views) if j != i) / (views - 1)
        for i in range(views)
    ]
    lengths = [float(token.square().sum().sqrt()) for token in tokens]
    variances = [float((u - u.mean()).square().sum() / (len(u) - 1)) for u in unit]
    scores = [0.0] * views
    for measure in (cosines, lengths, variances):
        low, high = min(measure), max(measure)
        scores = [
            s + abs((m - low) / (high - low) - 0.5) for s, m in zip(scores, measure, strict=True)
        ]
    return scores.index(min(scores))


def plain_trunk(model: Trunk, images: Tensor, reference: Reference) -> tuple[list[Tensor], int]:
    """Outputs of every block for the frames [S, 3, H, W] of one scene, and the chosen view."""
    shape, views = model.architecture, len(images)
    rows, columns = images.shape[-2] // 14, images.shape[-1] // 14
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    patches = model.patch_embed.proj(pixels).flatten(2).transpose(1, 2)
    x = torch.cat([model.cls_token.expand(views, -1, -1), patches], 1)
    x = x + plain_positions(model, rows, columns)
    inside = [(0, 0), *((r, c) for r in range(1, rows + 1) for c in range(1, columns + 1))]
    anywhere = [(0, 0), *[(1, 1)] * (rows * columns)] * views
    order, local, out = list(range(views)), x, []
    for index, block in enumerate(model.blocks):
        if index == shape.start - 1 and views >= 3:
            tokens = x[:, 0]
            chosen = {"first": 0, "middle": views // 2}.get(reference, plain_reference(tokens))
            order = [chosen, *(view for view in range(views) if view != chosen)]
            x, local = x[order], local[order]
        if index == shape.start:
            x = x.clone()
            x[0, 0] = model.camera_token[0, 0]
            x[1:, 0] = model.camera_token[0, 1]
        if index >= shape.start and index % 2:
            x = plain_block(x.flatten(0, 1), block, anywhere).view_as(x)
        else:
            places = inside if index >= shape.start else None
            local = x = torch.stack([plain_block(view, block, places) for view in x])
        both = torch.cat([local, plain_norm(x, model.norm, 1e-5)], -1)[:, 1:]
        out.append(both[[order.index(view) for view in range(views)]])
    return out, order[0]


@pytest.mark.parametrize("architecture", [EVEN, ODD], ids=["even", "odd"])
@pytest.mark.parametrize("reference", get_args(Reference))
@torch.inference_mode()
def test_tokens_are_those_of_a_plain_trunk_that_reorders_the_views(
    architecture: DA3Architecture, reference: Reference
) -> None:
    model, images = trunk(architecture), frames(scenes=2, views=4, rows=2, columns=3)
    levels, chosen = model(images, range(6), reference)
    for scene in range(2):
        expected, first = plain_trunk(model, images[scene], reference)
        assert int(chosen[scene]) == first
        for layer, tokens in enumerate(expected):
            torch.testing.assert_close(levels[layer].patches[scene], tokens, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("reference", get_args(Reference))
@pytest.mark.parametrize("views", [1, 2])
@torch.inference_mode()
def test_of_one_or_two_views_the_first_is_the_reference(views: int, reference: Reference) -> None:
    images = frames(views=views, rows=2, columns=2)
    levels, chosen = trunk()(images, [5], reference)
    assert chosen.tolist() == [0]
    expected, _ = plain_trunk(trunk(), images[0], "first")
    torch.testing.assert_close(levels[5].patches[0], expected[5], atol=2e-4, rtol=2e-4)


@torch.inference_mode()
def test_the_position_table_is_taken_as_it_is_at_its_own_size() -> None:
    model = trunk()
    assert model.positions(4, 4) is model.pos_embed
    found = model.positions(7, 5)
    torch.testing.assert_close(found[0], plain_positions(model, 7, 5), atol=1e-5, rtol=1e-5)
    by_size = F.interpolate(
        torch.unflatten(model.pos_embed[:, 1:], 1, (4, 4)).permute(0, 3, 1, 2),
        (7, 5),
        mode="bicubic",
    )
    careless = by_size.flatten(2).transpose(1, 2)
    assert (found[:, 1:] - careless).abs().max() > 0.001


@torch.inference_mode()
def test_views_may_change_places_when_the_reference_stays() -> None:
    model, images = trunk(), frames(views=5)

    def features(order: list[int], reference: Reference) -> tuple[Tensor, int]:
        levels, chosen = model(images[:, order], [5], reference)
        return levels[5].patches[0], order[int(chosen)]

    fixed: dict[Reference, list[int]] = {"first": [0, 3, 1, 4, 2], "middle": [4, 3, 2, 0, 1]}
    for reference, order in fixed.items():
        straight, _ = features([0, 1, 2, 3, 4], reference)
        shuffled, _ = features(order, reference)
        torch.testing.assert_close(shuffled, straight[order], atol=1e-4, rtol=1e-4)
    straight, chosen = features([0, 1, 2, 3, 4], "balanced")
    shuffled, again = features([2, 4, 0, 1, 3], "balanced")
    assert again == chosen
    torch.testing.assert_close(shuffled, straight[[2, 4, 0, 1, 3]], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_another_reference_makes_other_features() -> None:
    levels = [trunk()(frames(views=3), [5], name)[0][5].patches for name in ("first", "middle")]
    assert (levels[0] - levels[1]).abs().max() > 0.01


@torch.inference_mode()
def test_scenes_of_a_batch_do_not_see_each_other() -> None:
    model, images = trunk(), frames(scenes=3)
    both, chosen = model(images, [5], "balanced")
    for scene in range(3):
        alone, one = model(images[scene : scene + 1], [5], "balanced")
        assert int(one) == int(chosen[scene])
        torch.testing.assert_close(
            both[5].patches[scene], alone[5].patches[0], atol=1e-4, rtol=1e-4
        )


@torch.inference_mode()
def test_before_the_camera_token_no_frame_sees_another() -> None:
    model, images = trunk(), frames()
    whole, _ = model(images, [1, 3], "first")
    alone, _ = model(images[:, 1:2], [1, 3], "first")
    torch.testing.assert_close(whole[1].patches[:, 1:2], alone[1].patches, atol=1e-5, rtol=1e-5)
    assert (whole[3].patches[:, 1:2] - alone[3].patches).abs().max() > 0.01


@torch.inference_mode()
def test_views_that_are_all_alike_have_a_reference_too() -> None:
    assert reference_views(torch.ones(2, 4, 8), "balanced").tolist() == [0, 0]


@torch.inference_mode()
def test_the_residual_unit_carries_its_input_as_it_is() -> None:
    unit = ResidualUnit(4, rectified_skip=False)
    x = torch.randn(1, 4, 5, 5)
    torch.testing.assert_close(unit(x), x + unit.conv2(F.relu(unit.conv1(F.relu(x)))))


def plain_code(x: Tensor, aspect: float) -> Tensor:
    """The faint code of places that the head adds to its maps."""
    channels, rows, columns = x.shape[1:]
    diagonal, code = (aspect**2 + 1) ** 0.5, torch.zeros(channels, rows, columns)
    for i in range(rows):
        for j in range(columns):
            u = aspect / diagonal * (columns - 1) / columns * (2 * j / max(columns - 1, 1) - 1)
            v = 1 / diagonal * (rows - 1) / rows * (2 * i / max(rows - 1, 1) - 1)
            for offset, place in ((0, u), (channels // 2, v)):
                for k in range(channels // 4):
                    angle = torch.tensor(place * 100.0 ** (-k / (channels / 4)))
                    code[offset + k, i, j] = angle.sin()
                    code[offset + channels // 4 + k, i, j] = angle.cos()
    return x + 0.1 * code


def plain_unit(x: Tensor, unit: Any) -> Tensor:
    inner = unit.conv1(x.clamp(min=0))
    out: Tensor = x + unit.conv2(inner.clamp(min=0))
    return out


def plain_head(head: Any, layers: list[Tensor], rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Raw depth [N, 2, H, W] and raw rays [N, 7, 8 * rows, 8 * columns]."""
    aspect, scratch, maps = columns / rows, head.scratch, []
    for number, tokens in enumerate(layers):
        normed = plain_norm(tokens, head.norm, 1e-5)
        laid = normed.transpose(1, 2).reshape(len(tokens), -1, rows, columns)
        sized = head.resize_layers[number](plain_code(head.projects[number](laid), aspect))
        maps.append(getattr(scratch, f"layer{number + 1}_rn")(sized))
    ends = []
    for chain in ("", "_aux"):
        x: Any = None
        for number in (4, 3, 2, 1):
            fusion = getattr(scratch, f"refinenet{number}{chain}")
            x = maps[3] if x is None else x + plain_unit(maps[number - 1], fusion.resConfUnit1)
            x = plain_unit(x, fusion.resConfUnit2)
            size = maps[number - 2].shape[-2:] if number > 1 else (8 * rows, 8 * columns)
            x = F.interpolate(x, tuple(size), mode="bilinear", align_corners=True)
            x = fusion.out_conv(x)
        ends.append(x)
    size = (14 * rows, 14 * columns)
    x = F.interpolate(scratch.output_conv1(ends[0]), size, mode="bilinear", align_corners=True)
    first, _, last = scratch.output_conv2
    depth = last(first(plain_code(x, aspect)).clamp(min=0))
    x = ends[1]
    for convolution in scratch.output_conv1_aux[3]:
        x = convolution(x)
    end = scratch.output_conv2_aux[3]
    x = end[0](plain_code(x, aspect)).movedim(1, -1)
    x = plain_norm(x, end[2], 1e-5).movedim(-1, 1).clamp(min=0)
    return depth, end[5](x)


@torch.inference_mode()
def test_depth_and_rays_are_those_of_a_plain_head() -> None:
    rows, columns = 2, 3
    head = random(DualDPT(EVEN, HEAD), std=0.15)
    assert isinstance(head, DualDPT)
    layers = [
        torch.randn(2, rows * columns, 32, generator=torch.Generator().manual_seed(n))
        for n in range(4)
    ]
    raw_depth, raw_rays = plain_head(head, layers, rows, columns)
    depth, depth_confidence = head.depth(layers, (28, 42))
    rays, ray_confidence = head.rays(layers, (28, 42))
    assert depth.shape == depth_confidence.shape == (2, 28, 42)
    assert (rays.shape, ray_confidence.shape) == ((2, 16, 24, 6), (2, 16, 24))
    assert raw_depth.std() > 0.1 and raw_rays.std() > 0.1
    torch.testing.assert_close(depth, raw_depth[:, 0].exp(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(depth_confidence, 1 + raw_depth[:, 1].exp(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rays, raw_rays[:, :6].movedim(1, -1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ray_confidence, 1 + raw_rays[:, 6].exp(), atol=1e-4, rtol=1e-4)


def test_the_whole_model_has_all_parts_at_any_width() -> None:
    keys = DA3(Size(ODD, HEAD)).state_dict()
    assert {key.split(".")[0] for key in keys} == {"backbone", "head", "cam_dec", "cam_enc"}
