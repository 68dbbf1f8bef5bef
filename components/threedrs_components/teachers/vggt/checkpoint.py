"""What a VGGT checkpoint's own shapes say about its widths. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import isqrt
from pathlib import Path
from typing import Any

from threedrs_components.outside_json import part_of, read_object
from threedrs_components.teachers.vggt.architecture import VGGT_1B, VGGTArchitecture
from threedrs_components.teachers.weight_headers import Tensors
from threedrs_platform.errors import CheckpointError

AGGREGATOR, CAMERA_HEAD = "aggregator.", "camera_head."
DENSE_HEADS = {"depth_head.": 1, "point_head.": 3}
"""Channels by the prefix of a dense head's tensors."""
PARTS = (AGGREGATOR, CAMERA_HEAD, *DENSE_HEADS, "track_head.")
"""Beginnings of all tensors of the released model."""

Shapes = Mapping[str, tuple[int, ...]]
Fields = dict[str, Any]


def architecture_of(path: Path, tensors: Tensors) -> VGGTArchitecture:
    """The aggregator's widths, read off the shapes of its tensors.

    Raises:
        CheckpointError: the tensors are not those of a VGGT.
    """
    return _read(path, tensors, _aggregator, VGGTArchitecture())


def with_camera_head(path: Path, tensors: Tensors, known: VGGTArchitecture) -> VGGTArchitecture:
    """The same with the camera head's size; its rounds leave no trace in the shapes."""
    rounds = declared(path).get("camera_rounds", VGGT_1B.camera_rounds)

    def sizes(shapes: Shapes) -> Fields:
        depth = _count(shapes, f"{CAMERA_HEAD}trunk.")
        if not depth:
            raise KeyError(f"{CAMERA_HEAD}trunk.0.norm1.weight")
        return {"camera_depth": depth, "camera_rounds": rounds}

    return _read(path, tensors, sizes, known)


def with_dense_head(
    path: Path, tensors: Tensors, known: VGGTArchitecture, prefix: str
) -> VGGTArchitecture:
    """The same with the sizes of the depth or the point head."""
    layers = declared(path).get("dpt_layers", dpt_layers(known.depth))

    def cells(shapes: Shapes) -> Fields:
        values = shapes[f"{prefix}cell_out.weight"][0]
        side = isqrt(values // (DENSE_HEADS[prefix] + 1))
        return {"dense_head": "cells", "cells_per_patch": side}

    def dpt(shapes: Shapes) -> Fields:
        return {
            "dense_head": "dpt",
            "dpt_layers": layers,
            "dpt_features": shapes[f"{prefix}scratch.output_conv1.weight"][1],
            "dpt_channels": [shapes[f"{prefix}projects.{i}.weight"][0] for i in range(4)],
        }

    is_micro = f"{prefix}cell_out.weight" in tensors
    return _read(path, tensors, cells if is_micro else dpt, known)


def declared(path: Path) -> Fields:
    """Sizes that `pretraining` wrote beside the weights; none beside the released ones."""
    file = path.with_name("config.json")
    if not file.is_file():
        return {}
    sizes = part_of(read_object(file), "architecture", file)
    try:
        return VGGTArchitecture.model_validate(sizes).canonical() if sizes else {}
    except ValueError as error:
        raise CheckpointError(f"{file}: no configuration of a VGGT: {error}") from error


def dpt_layers(depth: int) -> tuple[int, ...]:
    """Blocks that the DPT heads read: those of VGGT-1B, or as deep in proportion."""
    whole = VGGT_1B.depth
    return tuple(max(0, round((layer + 1) * depth / whole) - 1) for layer in VGGT_1B.dpt_layers)


def _read(
    path: Path,
    tensors: Tensors,
    sizes: Callable[[Shapes], Fields],
    known: VGGTArchitecture,
) -> VGGTArchitecture:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    try:
        return VGGTArchitecture.model_validate({**known.canonical(), **sizes(shapes)})
    except KeyError as error:
        raise CheckpointError(
            f"{path}: no tensor {error.args[0]!r}, so this is no VGGT checkpoint (it has "
            f"{min(shapes, default='none')!r}); take model.safetensors of facebook/VGGT-1B"
        ) from error
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(f"{path}: tensors of no VGGT's shapes: {error}") from error


def _aggregator(shapes: Shapes) -> Fields:
    vit = f"{AGGREGATOR}patch_embed."
    width, _, patch, _ = shapes[f"{vit}patch_embed.proj.weight"]
    side = isqrt(shapes[f"{vit}pos_embed"][1])
    depth = _count(shapes, f"{AGGREGATOR}frame_blocks.")
    return {
        "image_size": side * patch,
        "patch_size": patch,
        "embed_dim": width,
        "heads": width // shapes[f"{AGGREGATOR}frame_blocks.0.attn.q_norm.weight"][0],
        "patch_embed_depth": _count(shapes, f"{vit}blocks."),
        "depth": depth,
        "mlp_ratio": shapes[f"{AGGREGATOR}frame_blocks.0.mlp.fc1.weight"][0] / width,
        "num_registers": shapes[f"{AGGREGATOR}register_token"][2],
        "dpt_layers": dpt_layers(depth),
    }


def _count(shapes: Iterable[str], prefix: str) -> int:
    """How many numbered modules follow a prefix."""
    return len(
        {name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix)}
    )
