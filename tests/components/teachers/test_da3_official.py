"""Depth Anything 3 against its authors' code, where that is installed; it is no requirement.

pip install --no-deps depth-anything-3 addict omegaconf antlr4-python3-runtime==4.9.3
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from threedrs_components.teachers.da3.architecture import DA3Architecture, Reference, Size
from threedrs_components.teachers.da3.teacher import DA3Teacher
from threedrs_components.teachers.pixels import normalised
from threedrs_components.teachers.registry import load_teacher
from threedrs_components.testing.teacher_checkpoints import DA3_HEAD, DA3_SHAPE, write_da3

official: Any = pytest.importorskip("depth_anything_3.model.da3")
STRATEGIES: dict[Reference, str] = {
    "first": "first",
    "middle": "middle",
    "balanced": "saddle_balanced",
}
GATED = replace(DA3_SHAPE, gated=True, start=3)
"""As the giant one: SwiGLU, and the first block after the camera token looks at all frames."""
TRUNKS = {"small": DA3_SHAPE, "giant": GATED}


class Backbone(nn.Module):
    """The authors' trunk in tiny widths, which their own class does not offer."""

    def __init__(self, shape: DA3Architecture) -> None:
        from depth_anything_3.model.dinov2.vision_transformer import DinoVisionTransformer

        super().__init__()
        ratio = shape.hidden / shape.embed_dim
        self.pretrained = DinoVisionTransformer(
            img_size=shape.image_size,
            patch_size=shape.patch_size,
            embed_dim=shape.embed_dim,
            depth=shape.depth,
            num_heads=shape.heads,
            mlp_ratio=ratio * 1.5 if shape.gated else ratio,  # of which SwiGLU takes two thirds
            ffn_layer="swiglufused" if shape.gated else "mlp",
            alt_start=shape.start,
            qknorm_start=shape.start,
            rope_start=shape.start,
            cat_token=True,
        )
        self.layers = DA3_HEAD.layers

    def forward(self, images: Tensor, **kwargs: Any) -> Any:
        return self.pretrained.get_intermediate_layers(images, self.layers, **kwargs)


def network(shape: DA3Architecture, path: Path) -> nn.Module:
    """The authors' network with the weights of a file in the published layout."""
    from depth_anything_3.model.cam_dec import CameraDec
    from depth_anything_3.model.cam_enc import CameraEnc
    from depth_anything_3.model.dualdpt import DualDPT

    width = shape.embed_dim
    head = DualDPT(2 * width, features=DA3_HEAD.features, out_channels=DA3_HEAD.channels)
    net: nn.Module = official.DepthAnything3Net(
        Backbone(shape), head, CameraDec(2 * width), CameraEnc(width)
    )
    stored = {name.removeprefix("model."): each for name, each in load_file(path).items()}
    absent = net.load_state_dict(stored, strict=False)
    assert absent.unexpected_keys == []
    # One norm stands at four levels of the ray head, and is stored for one of them.
    assert {name.split(".")[2] for name in absent.missing_keys} == {"output_conv2_aux"}
    assert len(absent.missing_keys) == 6
    return net.eval()


@pytest.fixture(params=TRUNKS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[nn.Module, Path]:
    shape = TRUNKS[request.param]
    torch.manual_seed(0)
    write_da3(tmp_path, Size(shape, DA3_HEAD))
    path = tmp_path / "model.safetensors"
    return network(shape, path), path


def images(views: int) -> Tensor:
    return torch.rand(2, views, 3, 28, 42, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("reference", STRATEGIES)
@pytest.mark.parametrize("views", [1, 2, 5])
@torch.inference_mode()
def test_tokens_depth_rays_and_cameras_are_those_of_the_authors_code(
    pair: tuple[Any, Path], reference: Reference, views: int
) -> None:
    net, path = pair
    teacher = load_teacher("da3", str(path), reference=reference)
    assert isinstance(teacher, DA3Teacher)
    shown = images(views)
    given = torch.unflatten(normalised(shown.flatten(0, 1)), 0, shown.shape[:2])
    strategy = {"ref_view_strategy": STRATEGIES[reference]}
    net.backbone.layers = range(DA3_SHAPE.depth)
    every, _ = net.backbone(given, **strategy)
    for ours, (theirs, _) in zip(teacher.tokens(shown), every, strict=True):
        close(ours, theirs)
    net.backbone.layers = DA3_HEAD.layers
    levels, _ = net.backbone(given, **strategy)
    dense = net.head(levels, 28, 42, patch_start_idx=0)
    depth, rays, cameras = teacher.depth(shown), teacher.rays(shown), teacher.cameras(shown)
    close(depth.depth, dense.depth)
    close(depth.confidence, dense.depth_conf)
    close(rays.rays, dense.ray)
    close(rays.confidence, dense.ray_conf)
    whole = net(given, **strategy)
    close(depth.depth, whole.depth)
    close(cameras.extrinsics, whole.extrinsics[..., :3, :])
    close(cameras.intrinsics, whole.intrinsics)


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs.float(), rtol=1e-4, atol=1e-4)
