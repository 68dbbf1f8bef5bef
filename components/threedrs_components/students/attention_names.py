"""Whether published weights name the attention of every layer as it is read. No torch."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from threedrs_platform.errors import CheckpointError

_LAYER = re.compile(r"^(.*\b(?:layers?|blocks)\.\d+)\.(.+)$")
"""A layer of a stack, and a tensor of it."""
_TOWER = re.compile(r"\bvis(?:ion|ual)")
_STACKED = re.compile(r"attn\.qkv\.weight$")
_APART = tuple(re.compile(rf"(?:attn|attention)\.{part}_proj\.weight$") for part in ("q", "k", "v"))
MOST = 3
"""Layers that an error spells out; it counts the others."""


def refuse_unnamed_attention(folder: Path, names: Collection[str]) -> None:
    """Refuse weights whose layers have queries, keys and values under no name that is read.

    Args:
        folder: of the weights.
        names: of all tensors.

    Raises:
        CheckpointError: names the layers, and what they hold instead.
    """
    layers: dict[str, list[str]] = {}
    for name in names:
        if found := _LAYER.match(name):
            layers.setdefault(found[1], []).append(found[2])
    lacking = [
        layer
        for layer, tensors in layers.items()
        if not _is_read(layer, tensors) and not _is_rest(layer, tensors, layers)
    ]
    if not lacking:
        return
    first = sorted(lacking)[0]
    odd = _of_attention(layers[first])
    held = f"it holds {', '.join(odd[:4])}" if odd else "it holds no tensor of attention"
    more = f" and {len(lacking) - MOST} more" if len(lacking) > MOST else ""
    raise CheckpointError(
        f"{folder}: no queries, keys and values in {', '.join(sorted(lacking)[:MOST])}{more}: in "
        f"{first} {held}; take the files as they were published, or save the model by transformers"
    )


def _of_attention(tensors: Collection[str]) -> list[str]:
    return [each for each in sorted(tensors) if "att" in each or "qkv" in each]


def _is_rest(layer: str, tensors: Collection[str], layers: Collection[str]) -> bool:
    """What is left of a tower's last layer, which students do without: published files have it."""
    stack, _, number = layer.rpartition(".")
    is_last = f"{stack}.{int(number) + 1}" not in layers
    return is_last and _TOWER.search(layer) is not None and not _of_attention(tensors)


def _is_read(layer: str, tensors: Collection[str]) -> bool:
    if _TOWER.search(layer) and any(map(_STACKED.search, tensors)):
        return True
    return all(any(map(part.search, tensors)) for part in _APART)
