"""What a Depth Anything 3 checkpoint's own shapes say about its widths. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import isqrt
from pathlib import Path
from typing import Any

from threedrs_components.outside_json import part_of, read_object
from threedrs_components.teachers.da3.architecture import (
    DA3Architecture,
    DenseSizes,
    Four,
    usual_layers,
)
from threedrs_components.teachers.weight_headers import Tensors
from threedrs_platform.errors import CheckpointError

TRUNK, HEAD, CAMERAS = "model.backbone.pretrained.", "model.head.", "model.cam_dec."
PARTS = (TRUNK, HEAD, CAMERAS, "model.cam_enc.", "model.gs_head.", "model.gs_adapter.")
"""Beginnings of all tensors of the released models; nothing here reads the last three."""
NESTED = ("model.da3.", "model.da3_metric.")
"""Beginnings of all tensors of the nested models."""
RAY_NORM = f"{HEAD}scratch.output_conv2_aux.{{level}}.2.{{part}}"
"""One LayerNorm that four levels share; safetensors keeps it for level 0 alone."""
CURE = (
    "take depth-anything/DA3-SMALL, DA3-BASE, DA3-LARGE-1.1 or DA3-GIANT-1.1, which look at all "
    "frames of a scene"
)


def architecture_of(path: Path, tensors: Tensors) -> DA3Architecture:
    """The trunk's widths, read off the shapes of its tensors.

    Args:
        path: of the checkpoint, for messages.
        tensors: all of the checkpoint, or what its header says of them.

    Raises:
        CheckpointError: the tensors are not those of a Depth Anything 3 that sees many frames.
    """
    _refuse_other_kinds(path, tensors)
    shapes = {name: tuple(each.shape) for name, each in tensors.items()}
    with _told(path):
        width, _, patch, _ = shapes[f"{TRUNK}patch_embed.proj.weight"]
        start = _first_with_camera(shapes)
        feed, gated = _feed_forward(shapes)
        return DA3Architecture(
            embed_dim=width,
            heads=width // shapes[f"{TRUNK}blocks.{start}.attn.q_norm.weight"][0],
            depth=len(_blocks(shapes)),
            start=start,
            hidden=feed,
            gated=gated,
            image_size=isqrt(shapes[f"{TRUNK}pos_embed"][1]) * patch,
            patch_size=patch,
        )


def dense_sizes(path: Path, tensors: Tensors, depth: int) -> DenseSizes:
    """The widths of the head for depth and rays, and the blocks it reads.

    Raises:
        CheckpointError: the tensors are not those of the head, or it reads blocks that are none.
    """
    shapes = {name: tuple(each.shape) for name, each in tensors.items()}
    with _told(path):
        a, b, c, d = (shapes[f"{HEAD}projects.{number}.weight"][0] for number in range(4))
        features = shapes[f"{HEAD}scratch.output_conv1.weight"][1]
        return DenseSizes(features, (a, b, c, d), head_layers(path, depth))


def head_layers(path: Path, depth: int) -> Four:
    """Blocks that the heads read: those of config.json beside the weights, else the usual ones.

    Raises:
        CheckpointError: the configuration is of something else, or names blocks that are none.
    """
    file = path.with_name("config.json")
    if not file.is_file():
        return usual_layers(depth)
    stored = read_object(file)
    net = part_of({**stored, **part_of(stored, "config", file)}, "net", file)
    try:
        a, b, c, d = (int(number) for number in net.get("out_layers", usual_layers(depth)))
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"{file}: no configuration of a Depth Anything 3: {error}; take the one that was "
            "released with the weights, or none"
        ) from error
    if not all(0 <= number < depth for number in (a, b, c, d)):
        raise CheckpointError(
            f"{file}: out_layers {[a, b, c, d]} must lie in 0..{depth - 1}, the blocks of {path}"
        )
    return a, b, c, d


def with_shared_norm(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The head's tensors, and the LayerNorm of levels 1 to 3 where a file has it of level 0."""
    shared = {
        RAY_NORM.format(level=level, part=part): tensors[name]
        for part in ("weight", "bias")
        if (name := RAY_NORM.format(level=0, part=part)) in tensors
        for level in (1, 2, 3)
    }
    return {**shared, **tensors}


def _refuse_other_kinds(path: Path, names: Iterable[str]) -> None:
    names = list(names)
    if any(name.startswith(NESTED) for name in names):
        raise CheckpointError(
            f"{path}: a nested Depth Anything 3 (DA3NESTED-*), two models in one, of which one "
            f"looks at single frames; {CURE} (the first of the two is like DA3-GIANT-1.1)"
        )
    of_trunk = [name for name in names if name.startswith(TRUNK)]
    if of_trunk and not any(name.endswith(("camera_token", ".q_norm.weight")) for name in of_trunk):
        raise CheckpointError(
            f"{path}: a Depth Anything 3 for single frames (DA3METRIC-*, DA3MONO-*): it has no "
            f"{TRUNK}camera_token, and no frame sees another; {CURE}"
        )


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Faults of shapes, told with the checkpoint's name."""
    try:
        yield
    except KeyError as error:
        raise CheckpointError(
            f"{path}: no tensor {error.args[0]!r}, so this is no Depth Anything 3 checkpoint; "
            f"{CURE}"
        ) from error
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{path}: tensors of no Depth Anything 3's shapes: {error}"
        ) from error


def _blocks(shapes: Iterable[str]) -> set[int]:
    found = (re.match(rf"{re.escape(TRUNK)}blocks\.(\d+)\.", name) for name in shapes)
    return {int(match[1]) for match in found if match}


def _first_with_camera(shapes: Mapping[str, Any]) -> int:
    names = {n: f"{TRUNK}blocks.{n}.attn.q_norm.weight" for n in sorted(_blocks(shapes))}
    for number, name in names.items():
        if name in shapes:
            return number
    raise KeyError(f"{TRUNK}blocks.0.attn.q_norm.weight")


def _feed_forward(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, bool]:
    """Hidden width, and whether it is gated."""
    gated = shapes.get(f"{TRUNK}blocks.0.mlp.w3.weight")
    if gated is not None:
        return gated[1], True
    return shapes[f"{TRUNK}blocks.0.mlp.fc1.weight"][0], False
