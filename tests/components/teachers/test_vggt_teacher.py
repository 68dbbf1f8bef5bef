"""VGGT as a teacher: its checkpoints, features, cameras, depth and points."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from threedrs_components.teachers.poses import intrinsics_of, matrices_of
from threedrs_components.teachers.registry import load_teacher
from threedrs_components.teachers.vggt.architecture import VGGTArchitecture
from threedrs_components.teachers.vggt.checkpoint import dpt_layers
from threedrs_components.teachers.vggt.config import VGGTConfig
from threedrs_components.teachers.vggt.model import VGGT
from threedrs_components.teachers.vggt.teacher import VGGTTeacher
from threedrs_components.teachers.weights import write_tensors
from threedrs_platform.errors import CheckpointError, ConfigError, DataError

TINY = VGGTArchitecture(
    image_size=32, patch_size=8, embed_dim=16, heads=2, patch_embed_depth=1, depth=2,
    mlp_ratio=2.0, dpt_layers=(0, 0, 1, 1),
)  # fmt: skip


def tiny(architecture: VGGTArchitecture = TINY) -> VGGT:
    torch.manual_seed(0)
    return VGGT(architecture, scale=1.0).eval()


def frames(number: int = 3, height: int = 32, width: int = 32) -> Tensor:
    return torch.rand(number, 3, height, width, generator=torch.Generator().manual_seed(5))


def write_checkpoint(folder: Path, model: VGGT, suffix: str) -> Path:
    path = folder / f"model{suffix}"
    if suffix == ".pt":
        torch.save(model.state_dict(), path)
    else:
        write_tensors(path, model)
    return path


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_teacher_from_a_file_gives_the_models_own_features(tmp_path: Path, suffix: str) -> None:
    model = tiny()
    path = write_checkpoint(tmp_path, model, suffix)
    teacher = VGGTConfig(checkpoint=str(path)).build()
    with torch.inference_mode():
        expected = model.aggregator(frames().unsqueeze(0), [1])[1][0, :, 5:]
    features = teacher.features(frames())
    assert features.shape == (3, 4, 4, 32)
    torch.testing.assert_close(features.flatten(1, 2), expected, atol=1e-5, rtol=1e-5)


def test_heads_that_features_do_not_need_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensors = tiny().state_dict() | {"track_head.unknown": torch.zeros(2)}
    save_file({name: value.clone() for name, value in tensors.items()}, path)
    assert load_teacher("vggt", str(path)).features(frames()).shape == (3, 4, 4, 32)


def test_a_folder_stands_for_the_weights_inside_it(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, tiny(), ".safetensors")
    assert load_teacher("vggt", str(tmp_path)).card.kind == "vggt"


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"aggregator.frame_blocks.1.norm1.weight": None},
            "1 missing: aggregator.frame_blocks.1",
        ),
        (
            {"aggregator.global_blocks.0.attn.proj.bias": torch.zeros(3)},
            r"1 of another shape: .*blocks.0.attn.proj.bias \[3\] instead of \[16\]",
        ),
        ({"aggregator.extra": torch.zeros(1)}, "1 unknown: aggregator.extra"),
        ({"semantic_head.weight": torch.zeros(1)}, "1 unknown: semantic_head.weight"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, suffix: str, change: dict[str, Tensor | None], complaint: str
) -> None:
    merged = {**tiny().state_dict(), **change}
    tensors = {name: value.clone() for name, value in merged.items() if value is not None}
    path = tmp_path / f"broken{suffix}"
    if suffix == ".pt":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    with pytest.raises(CheckpointError, match=complaint) as caught:
        load_teacher("vggt", str(path))
    assert f"broken{suffix}" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"half a checkpoint", b"\x80\x02}q\x00."])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"model{suffix}: "):
        load_teacher("vggt", str(path))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, suffix: str) -> None:
    path = write_checkpoint(tmp_path, tiny(), suffix)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=f"model{suffix}: not a readable checkpoint"):
        load_teacher("vggt", str(path))


def test_another_models_checkpoint_is_no_vggt(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"linear.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(CheckpointError, match="this is no VGGT checkpoint"):
        load_teacher("vggt", str(path))


def test_without_a_checkpoint_the_cure_is_named() -> None:
    with pytest.raises(CheckpointError, match="set `checkpoint`"):
        VGGTConfig().build()


def test_a_layer_beyond_the_depth_is_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, tiny(), ".safetensors")
    with pytest.raises(CheckpointError, match=r"blocks 0\.\.1, so there is no layer 2"):
        load_teacher("vggt", str(path), layer=2)


@pytest.mark.parametrize(
    ("given", "grid"),
    [((64, 64), (4, 4)), ((48, 64), (3, 4)), ((480, 640), (3, 4)), ((64, 32), (4, 4))],
)
def test_frames_are_brought_to_the_models_width_in_whole_patches(
    tmp_path: Path, given: tuple[int, int], grid: tuple[int, int]
) -> None:
    path = write_checkpoint(tmp_path, tiny(), ".safetensors")
    assert load_teacher("vggt", str(path)).features(frames(1, *given)).shape[1:3] == grid


def test_bfloat16_on_a_cpu_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="on a CPU use float32"):
        load_teacher("vggt", str(tmp_path), precision="bfloat16")


@pytest.mark.gpu
def test_bfloat16_stays_near_float32(tmp_path: Path) -> None:
    path = str(write_checkpoint(tmp_path, tiny(), ".safetensors"))
    exact = load_teacher("vggt", path).features(frames())
    quick = load_teacher("vggt", path, device="cuda", precision="bfloat16").features(frames())
    assert quick.dtype == torch.float32
    assert 0 < (quick.cpu() - exact).abs().max() < 0.05 * exact.abs().max()


def batch(number: int = 3) -> Tensor:
    """[2, S, 3, 24, 32]: two scenes."""
    first = frames(number, 24, 32)
    return torch.stack([first, 1 - first])


@pytest.fixture(params=["dpt", "cells"])
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[VGGT, VGGTTeacher]:
    """A model and the teacher that reads its checkpoint, whose heads start from nonzero values."""
    architecture = TINY.model_copy(
        update={
            "dense_head": request.param, "camera_rounds": 4, "dpt_features": 8,
            "dpt_channels": (4, 8, 8, 16), "camera_depth": 2,
        }
    )  # fmt: skip
    model = tiny(architecture=architecture)
    nn.init.normal_(model.camera_head.empty_pose_tokens)
    path = write_checkpoint(tmp_path, model, ".safetensors")
    return model, load_teacher("vggt", str(path))


@torch.inference_mode()
def test_tokens_are_those_of_every_aggregator_block(whole: tuple[VGGT, VGGTTeacher]) -> None:
    model, teacher = whole
    tokens = teacher.tokens(batch())
    assert [tuple(layer.shape) for layer in tokens] == [(2, 3, 5 + 12, 32)] * 2
    expected = model.aggregator(batch(), [0, 1])
    for layer, found in enumerate(tokens):
        torch.testing.assert_close(found, expected[layer], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_heads_read_from_the_checkpoint_say_what_the_model_says(
    whole: tuple[VGGT, VGGTTeacher],
) -> None:
    model, teacher = whole
    expected = model(batch())
    pairs = [
        (teacher.cameras(batch()).pose_encoding, expected.pose),
        (teacher.depth(batch()).depth, expected.depth),
        (teacher.depth(batch()).confidence, expected.depth_confidence),
        (teacher.points(batch()).points, expected.points),
        (teacher.points(batch()).confidence, expected.points_confidence),
    ]
    for found, wanted in pairs:
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_cameras_come_as_matrices_too(whole: tuple[VGGT, VGGTTeacher]) -> None:
    pose, extrinsics, intrinsics = whole[1].cameras(batch())
    assert (pose.shape, extrinsics.shape, intrinsics.shape) == (
        (2, 3, 9),
        (2, 3, 3, 4),
        (2, 3, 3, 3),
    )


def test_pose_encodings_become_the_matrices_that_scipy_makes() -> None:
    pose = torch.randn(4, 9, dtype=torch.float64)
    pose[:, 7:] = torch.tensor([0.9, 1.2])
    rotation = Rotation.from_quat(pose[:, 3:7].numpy()).as_matrix()
    extrinsics = matrices_of(pose)
    torch.testing.assert_close(extrinsics[..., :3], torch.from_numpy(rotation))
    assert torch.equal(extrinsics[..., 3], pose[:, :3])
    intrinsics = intrinsics_of(pose, height=24, width=32)[0]
    edge = intrinsics @ torch.tensor([math.tan(0.6), math.tan(0.45), 1.0]).double()
    torch.testing.assert_close(edge, torch.tensor([32.0, 24.0, 1.0]).double())


def test_only_the_aggregator_is_read_until_a_head_is_asked_for(tmp_path: Path) -> None:
    tensors = {
        name: value.clone()
        for name, value in tiny().state_dict().items()
        if not name.startswith("camera_head.trunk")
    }
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    teacher = load_teacher("vggt", str(path))
    assert teacher.features(frames()).shape == (3, 4, 4, 32)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: no tensor 'camera_head\.trunk"):
        teacher.cameras(batch())


@pytest.mark.parametrize("head", ["camera_head.", "depth_head.", "point_head."])
def test_a_head_that_does_not_fit_is_refused_by_name(head: str, tmp_path: Path) -> None:
    tensors = {name: value.clone() for name, value in tiny().state_dict().items()}
    victim = f"{head}token_norm.weight" if head == "camera_head." else f"{head}norm.weight"
    tensors[victim] = torch.zeros(3)
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    teacher = load_teacher("vggt", str(path))
    ask = {"camera_head.": teacher.cameras, "depth_head.": teacher.depth}.get(head, teacher.points)
    with pytest.raises(CheckpointError, match=rf"1 of another shape: {victim} \[3\]"):
        ask(batch())


@pytest.mark.parametrize("shape", [(3, 3, 32, 32), (1, 3, 3, 30, 32), (1, 3, 3, 32, 33)])
def test_images_of_a_wrong_shape_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, tiny(), ".safetensors")
    with pytest.raises(DataError, match=r"expected (\[scenes, frames, 3, H, W\]|multiples)"):
        load_teacher("vggt", str(path)).tokens(torch.rand(shape))


def test_a_pickle_that_wants_code_is_refused(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> Any:
            import os

            return os.system, ("exit 3",)

    torch.save({"aggregator.camera_token": Code()}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model\.pt: not a readable checkpoint") as caught:
        load_teacher("vggt", str(tmp_path))
    assert "holds more than tensors (posix.system), which is never run" in str(caught.value)
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    ("framing", "grid"), [("aspect", (2, 4)), ("squash", (4, 4)), ("crop", (4, 4))]
)
def test_a_wide_frame_keeps_its_shape_or_fills_the_square(
    framing: str, grid: tuple[int, int], tmp_path: Path
) -> None:
    path = write_checkpoint(tmp_path, tiny(), ".safetensors")
    teacher = load_teacher("vggt", str(path), framing=framing)
    assert teacher.features(frames(1, 20, 40)).shape[1:3] == grid


def test_heads_of_any_depth_read_where_the_released_ones_do_in_proportion() -> None:
    assert dpt_layers(24) == (4, 11, 17, 23)
    assert dpt_layers(12) == (1, 5, 8, 11)
    assert dpt_layers(1) == (0, 0, 0, 0)


def test_dense_heads_see_a_few_frames_at_a_time(whole: tuple[VGGT, VGGTTeacher]) -> None:
    model, teacher = whole
    many = frames(11, 24, 32).unsqueeze(0)
    with torch.inference_mode():
        expected = model(many)
    torch.testing.assert_close(teacher.depth(many).depth, expected.depth, atol=1e-5, rtol=1e-5)
    found = teacher.points(many).confidence
    torch.testing.assert_close(found, expected.points_confidence, atol=1e-5, rtol=1e-5)
