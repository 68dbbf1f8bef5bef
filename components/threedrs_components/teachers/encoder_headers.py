"""Whether an image encoder's weights are those that its config.json describes. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from threedrs_components.teachers.weight_headers import refuse_integers
from threedrs_components.tensor_headers import StoredTensor
from threedrs_platform.errors import CheckpointError

_LAYER = re.compile(r"^(?:.*\.)?layers?\.(\d+)\.(.+)$")
"""A layer's number, and a tensor of it."""
_PATCHES = re.compile(r"patch_embeddings?(?:\.projection)?\.weight$")
_POSITIONS = re.compile(r"position_embeddings?(?:\.weight)?$")
_INNER = re.compile(r"(?:mlp\.(?:up_proj|fc1)|intermediate\.dense)\.weight$")
SIZES = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "image_size",
    "patch_size", "num_register_tokens",
)  # fmt: skip
"""Whole numbers above 0 of config.json; what it leaves out is what transformers takes for it."""


def sizes_of(path: Path, stored: Mapping[str, Any]) -> dict[str, int]:
    """The sizes that config.json states.

    Raises:
        CheckpointError: one of them is no whole number above 0, or heads do not divide the width.
    """
    shape = stored.get("vision_config", stored)
    if not isinstance(shape, Mapping):
        raise CheckpointError(f"{path}: vision_config is no object; {_CURE}")
    found = {name: shape[name] for name in SIZES if name in shape}
    for name, value in found.items():
        if name == "num_register_tokens" and value == 0:
            continue
        if type(value) is not int or value < 1:
            raise CheckpointError(
                f"{path}: {name} is {value!r}, where a whole number above 0 belongs; {_CURE}"
            )
    width, heads = found.get("hidden_size", 0), found.get("num_attention_heads", 1)
    if width % heads:
        raise CheckpointError(
            f"{path}: hidden_size {width} is no multiple of num_attention_heads {heads}; {_CURE}"
        )
    return found


def refuse_other_shapes(
    path: Path,
    tensors: Mapping[str, StoredTensor],
    sizes: Mapping[str, int],
    needed: tuple[str, ...],
    other_parts: tuple[str, ...],
) -> None:
    """Refuse tensors that are not those of the sizes.

    Args:
        path: of the weights.
        tensors: all of them.
        sizes: of config.json.
        needed: ends of names outside the layers.
        other_parts: how names begin of what is not read.

    Raises:
        CheckpointError: names the first that does not fit.
    """
    read = {name: each for name, each in tensors.items() if not name.startswith(other_parts)}
    refuse_integers(path, read)
    lacking = [end for end in needed if not any(name.endswith(end) for name in read)]
    if lacking:
        raise CheckpointError(f"{path}: no tensor {lacking[0]!r}; {_CURE}")
    wrong = _wrong_shape(read, sizes)
    if wrong:
        raise CheckpointError(f"{path}: {wrong}, which config.json contradicts; {_CURE}")
    _refuse_uneven_layers(path, read, sizes.get("num_hidden_layers"))
    strangers = sorted(name for name in read if not _LAYER.match(name) and not _ends(name, needed))
    if strangers:
        raise CheckpointError(
            f"{path}: does not fit the model; tensors unknown: {strangers[0]}; {_CURE}"
        )


_CURE = "take all files as they were published, from one place"


def _ends(name: str, needed: tuple[str, ...]) -> bool:
    return name.endswith(needed) or ".head." in name or ".pooler." in name


def _wrong_shape(tensors: Mapping[str, StoredTensor], sizes: Mapping[str, int]) -> str | None:
    """The first tensor of another shape than the sizes say, in words."""
    width, patch, side = (sizes.get(n) for n in ("hidden_size", "patch_size", "image_size"))
    for name, each in tensors.items():
        shape = tuple(each.shape)
        if _PATCHES.search(name):
            wanted: tuple[int | None, ...] = (width, 3, patch, patch)
        elif _INNER.search(name):
            wanted = (sizes.get("intermediate_size"), width)
        elif name.endswith("register_tokens"):
            wanted = (1, sizes.get("num_register_tokens"), width)
        elif _POSITIONS.search(name) and side and patch:
            cells = (side // patch) ** 2
            wanted = (1, cells + 1, width) if len(shape) == 3 else (cells, width)
        else:
            continue
        pairs = zip(shape, wanted, strict=False)
        if len(shape) != len(wanted) or any(b not in (None, a) for a, b in pairs):
            return f"{name} is {list(shape)}"
    return None


def _refuse_uneven_layers(
    path: Path, tensors: Mapping[str, StoredTensor], stated: int | None
) -> None:
    layers: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, each in tensors.items():
        if found := _LAYER.match(name):
            layers.setdefault(int(found[1]), {})[found[2]] = tuple(each.shape)
    if not layers or sorted(layers) != list(range(stated or len(layers))):
        raise CheckpointError(
            f"{path}: has layers {_span(layers)}, and config.json num_hidden_layers {stated}; "
            f"{_CURE}"
        )
    most = max(layers.values(), key=len)
    whole = next(number for number, held in layers.items() if held is most)
    for number, held in layers.items():
        odd = sorted(end for end in most.keys() | held.keys() if most.get(end) != held.get(end))
        if odd:
            raise CheckpointError(
                f"{path}: does not fit the model; layers {whole} and {number} differ in {odd[0]}: "
                f"one of them lacks it, or has it of another shape; {_CURE}"
            )


def _span(layers: Mapping[int, object]) -> str:
    return f"{min(layers)}..{max(layers)} ({len(layers)} of them)" if layers else "none"
