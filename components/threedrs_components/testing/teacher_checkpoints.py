"""Random teachers of a few kilobytes in the released formats, for tests and trial runs.

What they compute means nothing; that a checkpoint of this layout loads and runs is the point.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file

from threedrs_components.pretraining.mae.pretraining import initialise, transformers_config
from threedrs_components.teachers.da3.architecture import DA3Architecture, DenseSizes, Size
from threedrs_components.teachers.da3.checkpoint import RAY_NORM
from threedrs_components.teachers.da3.model import DA3
from threedrs_components.teachers.flare.teacher import FLARE, FLARESizes
from threedrs_components.teachers.mae.architecture import MAEArchitecture
from threedrs_components.teachers.pi3.architecture import HeadSizes, TrunkSizes
from threedrs_components.teachers.pi3.model import Pi3
from threedrs_components.teachers.quiet import quiet_transformers
from threedrs_components.teachers.registry import TEACHERS, teacher_config
from threedrs_components.teachers.settings import TeacherSettings
from threedrs_components.teachers.vggt.architecture import VGGTArchitecture
from threedrs_components.teachers.vggt.model import VGGT
from threedrs_components.teachers.weights import write_tensors
from threedrs_platform.records import Scene

WIDTH, HEADS, LAYERS = 16, 2, 2
SIDE, PATCH = 32, 8
SCENE, FRAMES = "tiny", 3
VGGT_SHAPE = VGGTArchitecture(
    image_size=SIDE,
    patch_size=PATCH,
    embed_dim=WIDTH,
    heads=HEADS,
    patch_embed_depth=1,
    depth=LAYERS,
    dense_head="dpt",
    dpt_layers=(0, 0, 1, 1),
    dpt_features=8,
    dpt_channels=(8, 8, 8, 8),
    camera_rounds=4,
)

DA3_PATCH = 14
"""Of all released sizes, and of frames of 504 pixels."""
DA3_SHAPE = DA3Architecture(WIDTH, HEADS, depth=6, start=2, hidden=2 * WIDTH, image_size=56)
DA3_HEAD = DenseSizes(features=8, channels=(8, 8, 8, 8), layers=(2, 3, 4, 5))


class View(NamedTuple):
    """What a teacher looks at."""

    side: int = SIDE
    """Pixels of its square images."""
    patch: int = PATCH


TINY_VIEW = View()
RELEASED_VIEWS = {
    "vggt": View(152, 8),
    "flare": View(512, 16),
    "pi3": View(112, 28),
    "da3": View(518, DA3_PATCH),
    "mae": View(224, 16),
    "dinov2": View(224, 14),
    "dinov2_reg": View(224, 14),
    "dinov3": View(224, 16),
    "siglip2": View(224, 14),
}
"""Views at least as fine as a student's 14 x 14 tokens; but for VGGT's and Pi3's, as released."""


def write_tiny_checkpoint(kind: str, folder: Path, seed: int = 0, view: View = TINY_VIEW) -> Path:
    """Write a random model of one kind; the path that a teacher's `checkpoint` takes.

    Raises:
        LookupError: nobody has said how to write one of this kind.
    """
    if kind not in WRITERS:
        raise LookupError(
            f"teacher {kind!r} needs weights: add a function that writes a tiny checkpoint of it "
            f"to WRITERS in {__name__}, or say `weights: ClassVar[None] = None` if it needs none"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return WRITERS[kind](folder, view)


def tiny_teacher(kind: str, folder: Path, **fields: Any) -> TeacherSettings:
    """A teacher of any kind that can be built: with a tiny checkpoint where it needs weights."""
    if kind == "flare":  # rendered frames are square, of which its own framing cuts a quarter
        fields = {"framing": "squash", **fields}
    needs = TEACHERS[kind].weights is not None
    return teacher_config(
        kind, str(write_tiny_checkpoint(kind, folder)) if needs else None, **fields
    )


def tiny_scene() -> Scene:
    """Frames of noise; the scene that the tiny precomputed features are of."""
    images = np.random.default_rng(0).integers(0, 256, (FRAMES, 48, 64, 3), np.uint8)
    eye = np.eye(3, dtype=np.float32)
    poses = np.tile(np.eye(4, dtype=np.float32), (FRAMES, 1, 1))
    depth = np.ones((FRAMES, 4, 4), np.float32)
    names = tuple(f"frame-{number}" for number in range(FRAMES))
    return Scene(SCENE, names, images, depth, eye, eye, poses, np.eye(4, dtype=np.float32))


def _vggt(folder: Path, view: View) -> Path:
    sizes = {"image_size": view.side, "patch_size": view.patch}
    model = VGGT(VGGT_SHAPE.model_copy(update=sizes), scale=1.0)
    write_tensors(folder / "model.safetensors", model)
    return folder / "model.safetensors"


def _pi3(folder: Path, view: View) -> Path:
    """Large patches, because frames of any size are enlarged to 255,000 pixels."""
    sizes = View(128, 32) if view == TINY_VIEW else view
    encoder = VGGT_SHAPE.model_copy(update={"image_size": sizes.side, "patch_size": sizes.patch})
    head = HeadSizes(WIDTH, HEADS, depth=2, mlp_ratio=2.0, out=WIDTH)
    model = Pi3(TrunkSizes(encoder, 2 * LAYERS, mlp_ratio=2.0), head, head, scale=1.0)
    torch.nn.init.normal_(model.register_token)
    write_tensors(folder / "model.safetensors", model)
    return folder / "model.safetensors"


def _da3(folder: Path, view: View) -> Path:
    shape = DA3_SHAPE if view == TINY_VIEW else replace(DA3_SHAPE, image_size=view.side)
    write_da3(folder, Size(shape, DA3_HEAD))
    return folder / "model.safetensors"


def write_da3(folder: Path, size: Size) -> DA3:
    """A random Depth Anything 3 in the published layout: also the model, as it is in the file.

    The LayerNorm that four levels of the ray head share is stored for one of them.
    """
    model = DA3(size).eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1 or "token" in name:  # else gains are 1, shifts 0, tokens alike
            torch.nn.init.normal_(parameter, mean=float(name.endswith("norm.weight")), std=0.3)
    aliases = {
        RAY_NORM.format(level=n, part=part) for n in (1, 2, 3) for part in ("weight", "bias")
    }
    tensors = {f"model.{name}": value.clone() for name, value in model.state_dict().items()}
    save_file({k: v for k, v in tensors.items() if k not in aliases}, folder / "model.safetensors")
    net = {"out_layers": list(size.dense.layers), "alt_start": size.trunk.start}
    config = {"model_name": "da3-tiny", "config": {"net": net}}
    (folder / "config.json").write_text(json.dumps(config))
    return model


def _mae(folder: Path, view: View) -> Path:
    from transformers import ViTMAEForPreTraining

    shape = MAEArchitecture(
        image_size=view.side,
        patch_size=view.patch,
        hidden_size=WIDTH,
        layers=LAYERS,
        heads=HEADS,
        decoder_hidden_size=WIDTH,
        decoder_heads=HEADS,
    )
    model = ViTMAEForPreTraining(transformers_config(shape))
    initialise(model)
    return _saved(model, folder)


def _dinov2(folder: Path, view: View) -> Path:
    from transformers import Dinov2Config, Dinov2Model

    return _saved(Dinov2Model(Dinov2Config(**_vit_sizes(view), mlp_ratio=2)), folder)


def _dinov2_registers(folder: Path, view: View) -> Path:
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(**_vit_sizes(view), mlp_ratio=2, num_register_tokens=4)
    return _saved(Dinov2WithRegistersModel(config), folder)


def _dinov3(folder: Path, view: View) -> Path:
    """With the names of the released files, which lack the class's own `model.` before layers."""
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    config = DINOv3ViTConfig(**_vit_sizes(view), intermediate_size=2 * WIDTH, num_register_tokens=4)
    config.save_pretrained(folder)
    state = DINOv3ViTModel(config).state_dict()
    tensors = {name.removeprefix("model."): value.contiguous() for name, value in state.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    colours = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    (folder / "preprocessor_config.json").write_text(json.dumps(colours))
    return folder


def _siglip2(folder: Path, view: View) -> Path:
    from transformers import SiglipConfig, SiglipModel

    common = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    words = {"vocab_size": 8, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    text = {**common, **words, "intermediate_size": WIDTH, "max_position_embeddings": 4}
    vision = {**_vit_sizes(view), "intermediate_size": 2 * WIDTH}
    config = SiglipConfig(text_config=text, vision_config=vision)
    return _saved(SiglipModel(config), folder)


def _flare(folder: Path, view: View) -> Path:
    """Of the released depth, and 42 octaves of poses; only the widths are small."""
    patch = 32 if view == TINY_VIEW else view.patch
    model = FLARE(FLARESizes(encoder=WIDTH, patch=patch, decoder=WIDTH, harmonics=42))
    for name, parameter in model.named_parameters():
        if "pose_token" in name:
            torch.nn.init.normal_(parameter)
    state = {**model.state_dict(), "downstream_head1.leftover": torch.zeros(2)}
    torch.save({"model": state}, folder / "geometry_pose.pth")
    return folder / "geometry_pose.pth"


def _vit_sizes(view: View) -> dict[str, Any]:
    return {
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "image_size": view.side,
        "patch_size": view.patch,
    }


def _saved(model: Any, folder: Path) -> Path:
    with quiet_transformers():
        model.save_pretrained(folder)
    return folder


def _precomputed(folder: Path, view: View) -> Path:
    features, names = torch.randn(FRAMES, 4 * 4, WIDTH).numpy(), np.array(tiny_scene().frame_names)
    np.savez(folder / f"{SCENE}.npz", feature=features, frame_names=names)
    return folder


WRITERS: dict[str, Callable[[Path, View], Path]] = {
    "vggt": _vggt,
    "flare": _flare,
    "pi3": _pi3,
    "da3": _da3,
    "mae": _mae,
    "dinov2": _dinov2,
    "dinov2_reg": _dinov2_registers,
    "dinov3": _dinov3,
    "siglip2": _siglip2,
    "precomputed": _precomputed,
}
"""How to write a tiny checkpoint, by kind; every kind that needs weights has its function here."""
TINY_KINDS = tuple(kind for kind in WRITERS if kind != "precomputed")
"""Kinds that take a checkpoint and look at any frames."""
