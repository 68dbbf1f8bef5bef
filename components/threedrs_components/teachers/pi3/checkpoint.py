"""What a Pi3 checkpoint's own shapes say about its widths, and which files are none. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import isqrt
from pathlib import Path
from typing import TypeVar

from threedrs_components.teachers.pi3.architecture import HeadSizes, TrunkSizes
from threedrs_components.teachers.vggt.architecture import VGGTArchitecture
from threedrs_components.teachers.weight_headers import Tensors
from threedrs_platform.errors import CheckpointError

TRUNK = ("encoder.", "decoder.", "register_token", "image_mean", "image_std")
HEADS = ("point_decoder.", "point_head.", "conf_decoder.", "conf_head.", "camera_decoder.",
         "camera_head.")  # fmt: skip
PARTS = (*TRUNK, *HEADS)
"""Beginnings of all tensors of the released file."""
OTHER_MODELS = {
    "Pi3X, of other heads and conditions": (
        "depth_encoder.", "ray_embed.", "pose_inject_blk.", "metric_",
    ),
    "VGGT (kind: vggt)": ("aggregator.",),
    "Depth Anything 3 (kind: da3)": ("model.backbone.", "model.da3."),
}  # fmt: skip
"""Beginnings of tensors by which a file is known that was taken by mistake."""
CURE = "take model.safetensors of yyfz233/Pi3"

Sizes = TypeVar("Sizes", TrunkSizes, HeadSizes)
Shapes = Mapping[str, tuple[int, ...]]


def trunk_sizes(path: Path, tensors: Tensors) -> TrunkSizes:
    """Widths of encoder and decoder, read off the shapes of all tensors of a file.

    Raises:
        CheckpointError: the file is of another model, or of no Pi3's shapes.
    """
    for model, beginnings in OTHER_MODELS.items():
        found = sorted(name for name in tensors if name.startswith(beginnings))
        if found:
            raise CheckpointError(
                f"{path}: a checkpoint of {model}, for it has {found[0]!r}; for teacher pi3 {CURE}"
            )
    return _read(path, tensors, _trunk)


def head_sizes(path: Path, tensors: Tensors, prefix: str, head_dim: int) -> HeadSizes:
    """Widths of one head's decoder, whose tensors begin with a prefix.

    Attention heads are as wide as the trunk's: without normalised queries no shape tells.

    Raises:
        CheckpointError: the tensors are not those of a head.
    """

    def sizes(shapes: Shapes) -> HeadSizes:
        width = shapes[f"{prefix}projects.weight"][0]
        return HeadSizes(
            width=width,
            heads=width // head_dim,
            depth=_count(shapes, f"{prefix}blocks."),
            mlp_ratio=shapes[f"{prefix}blocks.0.mlp.fc1.weight"][0] / width,
            out=shapes[f"{prefix}linear_out.weight"][0],
        )

    return _read(path, tensors, sizes)


def _read(path: Path, tensors: Tensors, sizes: Callable[[Shapes], Sizes]) -> Sizes:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    try:
        return sizes(shapes)
    except KeyError as error:
        raise CheckpointError(
            f"{path}: no tensor {error.args[0]!r}, so this is no Pi3 checkpoint; {CURE}"
        ) from error
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(f"{path}: tensors of no Pi3's shapes: {error}; {CURE}") from error


def _trunk(shapes: Shapes) -> TrunkSizes:
    width, _, patch, _ = shapes["encoder.patch_embed.proj.weight"]
    depth = _count(shapes, "decoder.")
    if depth % 2:
        raise ValueError(f"{depth} decoder blocks, which are no pairs")
    encoder = VGGTArchitecture(
        image_size=isqrt(shapes["encoder.pos_embed"][1]) * patch,
        patch_size=patch,
        embed_dim=width,
        heads=width // shapes["decoder.0.attn.q_norm.weight"][0],
        patch_embed_depth=_count(shapes, "encoder.blocks."),
        num_registers=shapes["encoder.register_tokens"][1],
        mlp_ratio=shapes["encoder.blocks.0.mlp.fc1.weight"][0] / width,
    )
    return TrunkSizes(
        encoder,
        depth=depth,
        registers=shapes["register_token"][2],
        mlp_ratio=shapes["decoder.0.mlp.fc1.weight"][0] / width,
    )


def _count(shapes: Iterable[str], prefix: str) -> int:
    """How many numbered modules follow a prefix."""
    return len(
        {name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix)}
    )
