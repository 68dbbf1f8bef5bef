"""Many questions behind one visual prefix: the flat layout and its attention.

The sequence is [prefix of scene 0 | ... | prefix of scene S-1 | questions of scene 0 | ...]. Each
question sees its scene's prefix and itself, and its positions go on where the prefix ends, so every
question is computed as if it stood alone behind its prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

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
    def bounds(self) -> tuple[tuple[int, int], ...]:
        """First and last question token of each scene in the flat sequence."""
        ends = list(accumulate(self.scene_tokens, initial=self.scenes * self.prefix))
        return tuple(pairwise(ends))

    @cached_property
    def positions(self) -> Tensor:
        """[1, S * V + N] position of every token in its own conversation."""
        prefix = torch.arange(self.prefix).repeat(self.scenes)
        lengths = [length for scene in self.lengths for length in scene]
        return torch.cat([prefix, self.prefix + restarting(lengths)])[None]

    @cached_property
    def masks(self) -> tuple[Tensor, ...]:
        """Per scene [n, V + n] bool: what each question token may see."""
        return tuple(question_mask(self.prefix, lengths) for lengths in self.lengths)


def restarting(lengths: Sequence[int]) -> Tensor:
    """0, 1, ... anew for every length: [sum of lengths] int64."""
    return torch.cat([torch.arange(0), *(torch.arange(length) for length in lengths)])


def question_mask(prefix: int, lengths: Sequence[int]) -> Tensor:
    """[n, prefix + n] bool: the whole prefix, and causally the token's own question."""
    question = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths).long())
    total = len(question)
    own = (question[:, None] == question[None, :]) & torch.ones(total, total).tril().bool()
    return torch.cat([torch.ones(total, prefix, dtype=torch.bool), own], dim=1)


def shared_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    layout: PrefixLayout | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of a flat sequence; without a layout it is the ordinary SDPA of transformers.

    Args:
        module: the attention layer.
        query: [1, heads, S * V + N, d].
        key: [1, key-value heads, S * V + N, d].
        value: like key.
        attention_mask: only without a layout.
        scaling: of the scores.
        dropout: only without a layout.
        layout: of the flat sequence.
        kwargs: further arguments of the transformers interface.
    """
    if layout is None:
        out, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return out, None
    grouped = query.shape[1] != key.shape[1]
    cut = layout.scenes * layout.prefix
    queries, keys, values = (_by_scene(states, layout) for states in (query, key, value))
    prefix = functional.scaled_dot_product_attention(
        queries, keys, values, is_causal=True, scale=scaling, enable_gqa=grouped
    )
    parts = [prefix.transpose(1, 2).reshape(1, cut, *prefix.shape[1::2])]
    for scene, (first, last) in enumerate(layout.bounds):
        if first == last:
            continue
        seen_keys = torch.cat([keys[scene : scene + 1], key[:, :, first:last]], dim=2)
        seen_values = torch.cat([values[scene : scene + 1], value[:, :, first:last]], dim=2)
        answered = functional.scaled_dot_product_attention(
            query[:, :, first:last],
            seen_keys,
            seen_values,
            attn_mask=layout.masks[scene].to(query.device),
            scale=scaling,
            enable_gqa=grouped,
        )
        parts.append(answered.transpose(1, 2))
    return torch.cat(parts, dim=1), None


def _by_scene(states: Tensor, layout: PrefixLayout) -> Tensor:
    """Prefix part of [1, H, S * V + N, d] as [S, H, V, d]."""
    prefix = states[0, :, : layout.scenes * layout.prefix]
    shape = (states.shape[1], layout.scenes, layout.prefix, states.shape[3])
    return prefix.reshape(shape).transpose(0, 1)


AttentionInterface.register(ATTENTION, shared_prefix_attention)
