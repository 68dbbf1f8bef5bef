"""Pi3: released sizes, its parts against slow ones, its checkpoints, and that no frame is first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.spatial.transform import Rotation as Turn
from torch import Tensor, nn
from torch.nn import functional as F

from threedrs_components.teachers.pi3.architecture import PI3
from threedrs_components.teachers.pi3.framing import PixelLimit
from threedrs_components.teachers.pi3.layers import nearest_rotation
from threedrs_components.teachers.pi3.model import Pi3
from threedrs_components.teachers.pi3.teacher import Pi3Teacher
from threedrs_components.teachers.registry import load_teacher
from threedrs_components.testing.teacher_checkpoints import View, write_tiny_checkpoint
from threedrs_platform.errors import CheckpointError, ConfigError, DataError

SIZE = (24, 32)
ROWS, COLUMNS, SPECIALS, WIDTH, HEADS = 3, 4, 5, 16, 2


def frames(number: int = 3, height: int = SIZE[0], width: int = SIZE[1]) -> Tensor:
    return torch.rand(number, 3, height, width, generator=torch.Generator().manual_seed(5))


def scenes() -> Tensor:
    """[2, 3, 3, 24, 32]."""
    return torch.stack([frames(), 1 - frames()])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gains, norms and biases away from what they start from, so that each of them matters."""
    path = write_tiny_checkpoint("pi3", tmp_path_factory.mktemp("pi3"), view=View(40, 8))
    draw = torch.Generator().manual_seed(1)
    tensors = {
        name: value + 0.1 * torch.randn(value.shape, generator=draw)
        for name, value in load_file(path).items()
    }
    tensors["image_std"] = tensors["image_std"].abs() + 0.1
    save_file(tensors, path)
    return path


@pytest.fixture(scope="module")
def weights(checkpoint: Path) -> dict[str, Tensor]:
    return load_file(checkpoint)


@pytest.fixture(scope="module")
def teacher(checkpoint: Path) -> Pi3Teacher:
    return load_teacher("pi3", str(checkpoint), pixels=1500)


# -- the released model --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full_size() -> Pi3:
    with torch.device("meta"):
        return Pi3(PI3)


def test_the_whole_model_has_the_released_number_of_tensors_and_values(full_size: Pi3) -> None:
    assert len(full_size.state_dict()) == 1_210
    assert sum(tensor.numel() for tensor in full_size.state_dict().values()) == 958_696_738


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("image_mean", [1, 3, 1, 1]),
        ("register_token", [1, 1, 5, 1024]),
        ("encoder.pos_embed", [1, 1370, 1024]),
        ("encoder.register_tokens", [1, 4, 1024]),
        ("encoder.blocks.23.ls2.gamma", [1024]),
        ("decoder.35.attn.k_norm.bias", [64]),
        ("point_decoder.projects.weight", [1024, 2048]),
        ("conf_decoder.blocks.4.mlp.fc1.weight", [4096, 1024]),
        ("camera_decoder.linear_out.weight", [512, 1024]),
        ("point_head.proj.weight", [588, 1024]),
        ("conf_head.proj.bias", [196]),
        ("camera_head.res_conv.1.res_conv3.weight", [512, 512]),
        ("camera_head.more_mlps.2.bias", [512]),
        ("camera_head.fc_rot.weight", [9, 512]),
    ],
)
def test_keys_and_shapes_are_the_released_ones(full_size: Pi3, key: str, shape: list[int]) -> None:
    assert list(full_size.state_dict()[key].shape) == shape


def test_tensors_that_the_file_lacks_are_not_wanted(full_size: Pi3) -> None:
    names = list(full_size.state_dict())
    assert not [name for name in names if name.endswith("mask_token")]
    assert not [
        name for name in names if "_decoder" in name and (".ls1" in name or "_norm" in name)
    ]


# -- against slow ones ---------------------------------------------------------------------------


class Slow:
    """Pi3 by its description, one head and one token at a time, from the stored tensors."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.pow(2).mean(-1, keepdim=True) + eps).sqrt()
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def gain(self, name: str, x: Tensor) -> Tensor:
        return x * self.weights.get(f"{name}.gamma", torch.ones(()))

    def attention(self, name: str, x: Tensor, places: Tensor | None) -> Tensor:
        """[N, C] of tokens that see each other."""
        size = WIDTH // HEADS
        query, key, value = self.linear(f"{name}.qkv", x).chunk(3, -1)
        out = []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            q, k = query[:, part], key[:, part]
            if f"{name}.q_norm.weight" in self.weights:
                q, k = self.norm(f"{name}.q_norm", q, 1e-5), self.norm(f"{name}.k_norm", k, 1e-5)
            if places is not None:
                q, k = turned(q, places), turned(k, places)
            out.append(((q @ k.T) / size**0.5).softmax(-1) @ value[:, part])
        return self.linear(f"{name}.proj", torch.cat(out, -1))

    def block(self, name: str, x: Tensor, places: Tensor | None) -> Tensor:
        mixed = self.attention(f"{name}.attn", self.norm(f"{name}.norm1", x, 1e-6), places)
        x = x + self.gain(f"{name}.ls1", mixed)
        inner = F.gelu(self.linear(f"{name}.mlp.fc1", self.norm(f"{name}.norm2", x, 1e-6)))
        return x + self.gain(f"{name}.ls2", self.linear(f"{name}.mlp.fc2", inner))

    def encoded(self, frame: Tensor) -> Tensor:
        """[3, H, W] in [0, 1] -> [patches, C]."""
        w = self.weights
        pixels = (frame - w["image_mean"][0]) / w["image_std"][0]
        x = F.conv2d(pixels[None], w["encoder.patch_embed.proj.weight"], stride=8)[0]
        x = x.flatten(1).T + w["encoder.patch_embed.proj.bias"]
        table = w["encoder.pos_embed"][0, 1:].T.reshape(1, WIDTH, 5, 5)
        table = F.interpolate(table, (ROWS, COLUMNS), mode="bicubic", antialias=True)
        first = w["encoder.cls_token"][0] + w["encoder.pos_embed"][0, :1]
        x = torch.cat([first, w["encoder.register_tokens"][0], x + table[0].flatten(1).T])
        return self.norm("encoder.norm", self.block("encoder.blocks.0", x, None), 1e-6)[5:]

    def tokens(self, images: Tensor) -> list[Tensor]:
        """[S, 3, H, W] -> per decoder block [S, 5 + patches, C]."""
        places = places_of_a_frame()
        x = torch.stack(
            [torch.cat([self.weights["register_token"][0, 0], self.encoded(i)]) for i in images]
        )
        out = []
        for index in range(4):
            name = f"decoder.{index}"
            if index % 2 == 0:
                x = torch.stack([self.block(name, frame, places) for frame in x])
            else:
                every = places.repeat(len(x), 1)
                x = torch.unflatten(self.block(name, x.flatten(0, 1), every), 0, (len(x), -1))
            out.append(x)
        return out

    def head(self, name: str, tokens: Tensor) -> Tensor:
        """[5 + patches, 2C] of a frame -> [patches, out]."""
        x = self.linear(f"{name}_decoder.projects", tokens)
        for index in range(2):
            x = self.block(f"{name}_decoder.blocks.{index}", x, places_of_a_frame())
        return self.linear(f"{name}_decoder.linear_out", x)[SPECIALS:]

    def pixels(self, name: str, tokens: Tensor, channels: int) -> Tensor:
        """[H, W, channels] of a frame."""
        raw = self.linear(f"{name}_head.proj", self.head(name, tokens))
        out = torch.zeros(*SIZE, channels)
        for row in range(SIZE[0]):
            for column in range(SIZE[1]):
                values = raw[row // 8 * COLUMNS + column // 8].reshape(channels, 8, 8)
                out[row, column] = values[:, row % 8, column % 8]
        return out

    def pose(self, tokens: Tensor) -> Tensor:
        """[4, 4] of a frame."""
        x = self.head("camera", tokens)
        for unit in range(2):
            inner = x
            for layer in (1, 2, 3):
                inner = self.linear(f"camera_head.res_conv.{unit}.res_conv{layer}", inner).relu()
            x = x + inner
        x = x.mean(0)
        for layer in (0, 2):
            x = self.linear(f"camera_head.more_mlps.{layer}", x).relu()
        rows = self.linear("camera_head.fc_rot", x).reshape(3, 3)
        rows = rows / rows.norm(dim=1, keepdim=True)
        nearest, _ = Turn.align_vectors(rows.T.double().numpy(), np.eye(3))
        pose = torch.eye(4)
        pose[:3, :3] = torch.from_numpy(nearest.as_matrix())
        pose[:3, 3] = self.linear("camera_head.fc_t", x)
        return pose


def places_of_a_frame() -> Tensor:
    """[5 + patches, 2]: (y, x), patches from 1."""
    patches = [(1 + row, 1 + column) for row in range(ROWS) for column in range(COLUMNS)]
    return torch.tensor([(0, 0)] * SPECIALS + patches, dtype=torch.float32)


def turned(x: Tensor, places: Tensor) -> Tensor:
    """[N, 8] of one head: its first half turned by y, its second by x, as complex numbers."""
    out = []
    for axis in range(2):
        half = x[:, 4 * axis : 4 * axis + 4]
        angles = places[:, axis : axis + 1] * torch.tensor([1.0, 100.0**-0.5])
        turn = torch.complex(half[:, :2], half[:, 2:]) * torch.polar(torch.ones(()), angles)
        out += [turn.real, turn.imag]
    return torch.cat(out, 1)


def test_tokens_are_those_of_a_slow_model(teacher: Pi3Teacher, weights: dict[str, Tensor]) -> None:
    found = teacher.tokens(scenes())
    assert [tuple(block.shape) for block in found] == [(2, 3, 17, WIDTH)] * 4
    for scene, images in enumerate(scenes()):
        for block, expected in enumerate(Slow(weights).tokens(images)):
            torch.testing.assert_close(found[block][scene], expected, atol=2e-5, rtol=2e-5)


def test_points_and_cameras_are_those_of_a_slow_model(
    teacher: Pi3Teacher, weights: dict[str, Tensor]
) -> None:
    slow, images = Slow(weights), frames()
    blocks = slow.tokens(images)
    last = torch.cat(blocks[-2:], -1)
    found, poses = teacher.points(images[None]), teacher.cameras(images[None]).camera_to_world
    assert (found.points.shape, poses.shape) == ((1, 3, *SIZE, 3), (1, 3, 4, 4))
    for frame, tokens in enumerate(last):
        raw, pose = slow.pixels("point", tokens, 3), slow.pose(tokens)
        depth = raw[..., 2:].exp()
        local = torch.cat([raw[..., :2] * depth, depth], -1)
        world = local @ pose[:3, :3].T + pose[:3, 3]
        for mine, theirs in (
            (poses[0, frame], pose),
            (found.local_points[0, frame], local),
            (found.points[0, frame], world),
            (found.confidence[0, frame], slow.pixels("conf", tokens, 1)[..., 0]),
        ):
            torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


def test_nine_numbers_become_the_nearest_rotation_also_of_a_reflection() -> None:
    numbers = torch.randn(40, 9, generator=torch.Generator().manual_seed(0))
    rows = F.normalize(numbers.view(-1, 3, 3), dim=-1).double()
    assert {float(x) for x in torch.linalg.det(rows).sign()} == {-1.0, 1.0}
    for found, matrix in zip(nearest_rotation(numbers), rows, strict=True):
        expected, _ = Turn.align_vectors(matrix.T.numpy(), np.eye(3))
        torch.testing.assert_close(
            found.double(), torch.from_numpy(expected.as_matrix()), atol=1e-5, rtol=1e-5
        )


# -- what it is chosen for -----------------------------------------------------------------------


def test_frames_in_another_order_give_the_same_in_that_order(teacher: Pi3Teacher) -> None:
    images, order = scenes(), [2, 0, 1]
    pairs = [
        *zip(teacher.tokens(images), teacher.tokens(images[:, order]), strict=True),
        *zip(teacher.points(images), teacher.points(images[:, order]), strict=True),
        *zip(teacher.cameras(images), teacher.cameras(images[:, order]), strict=True),
    ]
    for straight, mixed in pairs:
        torch.testing.assert_close(straight[:, order], mixed, atol=1e-4, rtol=1e-4)
    straight, mixed = teacher.features(images[0]), teacher.features(images[0, order])
    torch.testing.assert_close(straight[order], mixed, atol=1e-4, rtol=1e-4)


def test_frames_of_a_scene_see_each_other(teacher: Pi3Teacher) -> None:
    together, alone = teacher.tokens(frames()[None]), teacher.tokens(frames()[None, :1])
    torch.testing.assert_close(together[0][:, :1], alone[0], atol=1e-5, rtol=1e-5)
    assert (together[1][:, :1] - alone[1]).abs().max() > 0.01


def test_scenes_of_a_batch_do_not_see_each_other(teacher: Pi3Teacher) -> None:
    both, second = teacher.points(scenes()), teacher.points(scenes()[1:])
    for found, alone in zip(both, second, strict=True):
        torch.testing.assert_close(found[1:], alone, atol=1e-4, rtol=1e-4)


def test_many_frames_in_chunks_are_as_in_one(teacher: Pi3Teacher, checkpoint: Path) -> None:
    many = frames(11)[None]
    with torch.enable_grad():
        whole = teacher.trunk(many, [3])[3]
    torch.testing.assert_close(teacher.tokens(many)[3], whole, atol=1e-5, rtol=1e-5)
    assert teacher.points(many).points.shape == (1, 11, *SIZE, 3)


# -- features ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layer", "pair"), [(-1, 1), (1, 1), (0, 0), (-2, 0)])
def test_features_are_a_pair_of_blocks_side_by_side_without_registers(
    layer: int, pair: int, checkpoint: Path
) -> None:
    teacher = load_teacher("pi3", str(checkpoint), layer=layer, pixels=24 * 32)
    blocks = teacher.tokens(frames()[None])[2 * pair : 2 * pair + 2]
    expected = torch.cat(blocks, -1)[0, :, SPECIALS:]
    found = teacher.features(frames())
    assert found.shape == (3, ROWS, COLUMNS, 2 * WIDTH)
    torch.testing.assert_close(found.flatten(1, 2), expected)
    assert teacher.card.layer == pair
    assert f"blocks {2 * pair} (frame) and {2 * pair + 1} (all" in teacher.card.output


@pytest.mark.parametrize(
    ("given", "patches"),
    [
        ((480, 640), (31, 41)),
        ((968, 1296), (31, 41)),
        ((240, 320), (31, 41)),
        ((720, 1280), (27, 48)),
        ((640, 480), (41, 31)),
        ((500, 500), (36, 36)),
    ],
)
def test_frames_get_the_size_of_the_released_loader(
    given: tuple[int, int], patches: tuple[int, int]
) -> None:
    limit = PixelLimit.of(255_000, 14, "aspect")
    assert limit.patches(*given) == patches
    assert limit.seen(*given) == (1.0, 1.0)


def test_frames_are_resized_as_pillows_lanczos_does() -> None:
    images = (frames(1, 48, 64) * 255).round() / 255
    found = PixelLimit.of(2000, 8, "aspect")(images)
    picture = Image.fromarray((images[0].permute(1, 2, 0) * 255).round().byte().numpy())
    expected = np.asarray(picture.resize((48, 40), Image.Resampling.LANCZOS))
    assert found.shape == (1, 3, 40, 48)
    assert np.abs((found[0].permute(1, 2, 0) * 255).round().numpy() - expected).max() <= 1


@pytest.mark.parametrize(
    ("framing", "grid"), [("aspect", (3, 6)), ("squash", (4, 4)), ("crop", (4, 4))]
)
def test_every_framing_gives_its_grid(
    framing: str, grid: tuple[int, int], checkpoint: Path
) -> None:
    teacher = load_teacher("pi3", str(checkpoint), framing=framing, pixels=1200)
    assert teacher.features(frames(1, 20, 40)).shape[1:3] == grid


def test_fewer_pixels_than_a_patch_are_refused(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match=r"teacher\.pixels: 63 are less than a patch"):
        load_teacher("pi3", str(checkpoint), pixels=63)


def test_the_terms_of_the_weights_go_with_the_features(teacher: Pi3Teacher) -> None:
    assert teacher.card.licence == "CC BY-NC 4.0"
    assert "at most 1500 pixels, sides multiples of 8, Lanczos" in teacher.card.preprocessing


# -- refusals ------------------------------------------------------------------------------------


def spoiled(checkpoint: Path, folder: Path, changes: dict[str, Tensor | None]) -> str:
    merged = {**load_file(checkpoint), **changes}
    path = folder / "model.safetensors"
    save_file({name: value for name, value in merged.items() if value is not None}, path)
    return str(path)


@pytest.mark.parametrize(
    ("stranger", "complaint"),
    [
        ("depth_encoder.norm.weight", "of Pi3X, .*'depth_encoder.norm.weight'; .*yyfz233/Pi3$"),
        ("metric_token", r"of Pi3X, .*take model\.safetensors of yyfz233/Pi3$"),
        ("aggregator.camera_token", r"of VGGT \(kind: vggt\)"),
        ("model.backbone.pretrained.cls_token", r"of Depth Anything 3 \(kind: da3\)"),
        ("semantic_head.weight", "1 unknown: semantic_head.weight"),
        ("decoder.0.extra", "1 unknown: decoder.0.extra"),
    ],
)
def test_a_file_of_another_model_is_refused_by_name(
    stranger: str, complaint: str, checkpoint: Path, tmp_path: Path
) -> None:
    path = spoiled(checkpoint, tmp_path, {stranger: torch.zeros(2)})
    with pytest.raises(CheckpointError, match=complaint):
        load_teacher("pi3", path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"register_token": None}, "no tensor 'register_token', so this is no Pi3 .*; take model"),
        ({"image_std": None}, "1 missing: image_std"),
        ({"decoder.3.norm1.bias": torch.zeros(3)}, r"norm1.bias \[3\] instead of \[16\]"),
        ({"decoder.4.norm1.bias": torch.zeros(3)}, "5 decoder blocks, which are no pairs"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    changes: dict[str, Any], complaint: str, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=complaint):
        load_teacher("pi3", spoiled(checkpoint, tmp_path, changes))


def test_heads_are_read_when_they_are_asked_for(checkpoint: Path, tmp_path: Path) -> None:
    changes: dict[str, Tensor | None] = {
        "point_head.proj.bias": torch.zeros(3),
        "camera_decoder.projects.weight": None,
    }
    teacher = load_teacher("pi3", spoiled(checkpoint, tmp_path, changes), pixels=1500)
    assert teacher.features(frames()).shape == (3, 4, 5, 32)
    with pytest.raises(CheckpointError, match=r"1 of another shape: point_head.proj.bias \[3\]"):
        teacher.points(frames()[None])
    with pytest.raises(CheckpointError, match=r"no tensor 'camera_decoder\.projects\.weight'"):
        teacher.cameras(frames()[None])


def test_a_layer_beyond_the_pairs_is_refused(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"pairs of decoder blocks 0\.\.1, so .* no layer 2"):
        load_teacher("pi3", str(checkpoint), layer=2)


@pytest.mark.parametrize("shape", [(3, 3, 24, 32), (1, 3, 3, 25, 32), (1, 3, 3, 24, 33)])
def test_images_of_a_wrong_shape_are_refused(shape: tuple[int, ...], teacher: Pi3Teacher) -> None:
    with pytest.raises(DataError, match=r"expected (\[scenes, frames, 3, H, W\]|multiples)"):
        teacher.tokens(torch.rand(shape))


def test_a_pickled_file_is_read_too(checkpoint: Path, tmp_path: Path) -> None:
    torch.save(load_file(checkpoint), tmp_path / "model.pt")
    found = load_teacher("pi3", str(tmp_path), pixels=1500).features(frames())
    expected = load_teacher("pi3", str(checkpoint), pixels=1500).features(frames())
    assert torch.equal(found, expected)


def test_bfloat16_on_a_cpu_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="on a CPU use float32"):
        load_teacher("pi3", str(checkpoint), precision="bfloat16")


def test_a_head_learns_no_gradient(teacher: Pi3Teacher) -> None:
    teacher.points(frames()[None])
    modules: list[nn.Module] = [
        teacher.trunk,
        *(m for pair in teacher._heads.values() for m in pair),
    ]
    assert not [p for module in modules for p in module.parameters() if p.requires_grad]
