"""Many questions behind one visual prefix: the flat layout and its attention.

The sequence is [prefix of scene 0 | ... | prefix of scene S-1 | questions of scene 0 | ...]. Each
question sees its scene's prefix and itself, and its positions go on where the prefix ends, so every
question is computed as if it stood alone behind its prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from threedrs_components.students.two_part_attention import (
    Padding,
    TwoPartAttention,
    folded,
    kernel_for,
    merged,
    plain_attention,
)

ATTENTION = "shared_prefix"


@dataclass(frozen=True)
class PrefixLayout:
    """Where prefixes and questions lie. S scenes of V prefix tokens, N question tokens in all."""

    prefix: int
    """V"""
    lengths: tuple[tuple[int, ...], ...]
    """Per scene, the number of tokens of each question; a scene may have none."""

    @property
    def scenes(self) -> int:
        """S"""
        return len(self.lengths)

    @cached_property
    def scene_tokens(self) -> tuple[int, ...]:
        """Question tokens of each scene."""
        return tuple(sum(lengths) for lengths in self.lengths)

    @cached_property
    def positions(self) -> Tensor:
        """[1, S * V + N] position of every token in its own conversation."""
        return self.positions_behind(torch.arange(self.prefix))[None]

    def positions_behind(self, prefix: Tensor) -> Tensor:
        """[..., S * V + N] positions, where those [..., V] of one prefix are given.

        Questions go on behind the highest one, alike on every leading axis.
        """
        lengths = [length for scene in self.lengths for length in scene]
        questions = restarting(lengths).to(prefix.device) + (int(prefix.max()) + 1)
        behind = questions.expand(*prefix.shape[:-1], -1)
        return torch.cat([*[prefix] * self.scenes, behind], dim=-1)

    def packing(self, device: torch.device) -> Packing:
        """Where question tokens lie, made once for all layers of a pass."""
        questions = [length for lengths in self.lengths for length in lengths]
        return Packing(self, _padding(self.scene_tokens, device), _padding(questions, device))


@dataclass(frozen=True)
class Packing:
    """Question tokens of a layout as padded rows, on the device of a pass."""

    layout: PrefixLayout
    by_scene: Padding
    by_question: Padding


def _padding(lengths: Sequence[int], device: torch.device) -> Padding:
    """Rows of these lengths, one behind the other."""
    columns = max(lengths, default=0)
    starts = torch.arange(len(lengths)) * columns
    tokens = torch.tensor(lengths, dtype=torch.long)
    places = torch.repeat_interleave(starts, tokens) + restarting(lengths)
    return Padding(len(lengths), columns, places.to(device))


def restarting(lengths: Sequence[int]) -> Tensor:
    """0, 1, ... anew for every length: [sum of lengths] int64."""
    return torch.cat([torch.arange(0), *(torch.arange(length) for length in lengths)])


def shared_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packing: Packing | None = None,
    prefix: DynamicCache | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of a flat sequence; without packing or prefix the ordinary SDPA of transformers.

    Args:
        module: the attention layer.
        query: [1, heads, n, d] of prefixes and questions; with a prefix, of new tokens only.
        key: [1, key-value heads, m, d]; with a prefix, of all tokens behind it.
        value: like key.
        attention_mask: [1, 1, n, m] bool without packing: which tokens behind the prefix are seen.
        scaling: of the scores.
        dropout: only of ordinary attention.
        packing: of the questions.
        prefix: keys and values of one scene's prefix, which everything sees.
        kwargs: further arguments of the transformers interface.
    """
    if packing is None and prefix is None:
        out, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return out, None
    query, key, value = (_as_autocast(states) for states in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if prefix is None:
        assert packing is not None
        return _of_whole_pass(query, key, value, packing, scale)[None], None
    layer: Any = prefix.layers[int(module.layer_idx)]  # type: ignore[arg-type]
    if packing is not None:
        own_q, own_k, own_v = (states[0].transpose(0, 1) for states in (query, key, value))
        out = _of_questions(own_q, own_k, own_v, layer.keys, layer.values, packing, scale)
        return out[None], None
    assert attention_mask is not None
    behind = folded(query, layer.keys.shape[1]), layer.keys, layer.values
    first, first_sums, _ = kernel_for(*behind, False).forward(*behind, scale, False)
    second = plain_attention(query, key, value, scale, attention_mask[0, 0])
    out, _ = merged(first.reshape(query.shape), first_sums.reshape(query.shape[:3]), *second)
    return out.transpose(1, 2), None


def _of_whole_pass(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, scale: float
) -> Tensor:
    """[S * V + N, heads, d] of prefixes and questions together."""
    layout = packing.layout
    split = [_split(states, layout) for states in (query, key, value)]
    prefix_q, prefix_k, prefix_v = (prefix for prefix, _ in split)
    prefix = functional.scaled_dot_product_attention(
        prefix_q,
        prefix_k,
        prefix_v,
        is_causal=True,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    flat = prefix.transpose(1, 2).flatten(0, 1)
    if not packing.by_question.columns:
        return flat
    own_q, own_k, own_v = (own for _, own in split)
    return torch.cat([flat, _of_questions(own_q, own_k, own_v, prefix_k, prefix_v, packing, scale)])


def _of_questions(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prefix_key: Tensor,
    prefix_value: Tensor,
    packing: Packing,
    scale: float,
) -> Tensor:
    """[N, heads, d] of question tokens [N, heads, d] behind prefixes [S, key-value heads, V, d]."""
    out: Tensor = TwoPartAttention.apply(  # type: ignore[no-untyped-call]
        query, key, value, prefix_key, prefix_value, packing.by_scene, packing.by_question, scale
    )
    return out


def _split(states: Tensor, layout: PrefixLayout) -> tuple[Tensor, Tensor]:
    """[1, H, S * V + N, d] into prefixes [S, H, V, d] and question tokens [N, H, d]."""
    cut, total = layout.scenes * layout.prefix, states.shape[2]
    prefix, questions = torch.split(states[0].transpose(0, 1), [cut, total - cut])
    prefixes = prefix.reshape(layout.scenes, layout.prefix, *prefix.shape[1:])
    return prefixes.transpose(1, 2), questions


def _as_autocast(states: Tensor) -> Tensor:
    """In the number format that autocast would give them: it does not know our attention."""
    kind = states.device.type
    if not torch.is_autocast_enabled(kind):
        return states
    return states.to(torch.get_autocast_dtype(kind))


# transformers makes no mask for an attention it does not know, and hands on [1, 1, n, m] as it is.
# The masks it makes take positions that start anew for the borders of packed samples.
AttentionInterface.register(ATTENTION, shared_prefix_attention)
