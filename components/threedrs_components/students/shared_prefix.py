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

    @cached_property
    def mask(self) -> Tensor:
        """[S, 1, n, V + n] bool, n the most question tokens of a scene: what each may see.

        Rows beyond a scene's own tokens see the first token, so that no row is empty.
        """
        most = max(self.scene_tokens)
        mask = torch.zeros(self.scenes, 1, most, self.prefix + most, dtype=torch.bool)
        mask[..., 0] = True
        for scene, lengths in enumerate(self.lengths):
            own = sum(lengths)
            mask[scene, 0, :own, : self.prefix + own] = question_mask(self.prefix, lengths)
        return mask

    @cached_property
    def places(self) -> Tensor:
        """[N] where each question token lies among S x n padded ones."""
        most = max(self.scene_tokens)
        starts = torch.arange(self.scenes) * most
        tokens = torch.tensor(self.scene_tokens)
        return torch.repeat_interleave(starts, tokens) + restarting(self.scene_tokens)


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
    (prefix_q, own_q), (prefix_k, own_k), (prefix_v, own_v) = (
        _split(states, layout) for states in (query, key, value)
    )
    prefix = functional.scaled_dot_product_attention(
        prefix_q, prefix_k, prefix_v, is_causal=True, scale=scaling, enable_gqa=grouped
    )
    flat = [prefix.transpose(1, 2).flatten(0, 1)]
    if own_q.shape[2]:
        answered = functional.scaled_dot_product_attention(
            own_q,
            torch.cat([prefix_k, own_k], dim=2),
            torch.cat([prefix_v, own_v], dim=2),
            attn_mask=layout.mask.to(query.device),
            scale=scaling,
            enable_gqa=grouped,
        )
        padded = answered.transpose(1, 2).flatten(0, 1)
        flat.append(padded.index_select(0, layout.places.to(query.device)))
    return torch.cat(flat)[None], None


def _split(states: Tensor, layout: PrefixLayout) -> tuple[Tensor, Tensor]:
    """[1, H, S * V + N, d] into prefixes [S, H, V, d] and padded question tokens [S, H, n, d]."""
    cut, total = layout.scenes * layout.prefix, states.shape[2]
    prefix, questions = torch.split(states[0].transpose(0, 1), [cut, total - cut])
    most = max(layout.scene_tokens)
    padded = questions.new_zeros(layout.scenes * most, *questions.shape[1:])
    padded = padded.index_copy(0, layout.places.to(states.device), questions)
    by_scene = padded.reshape(layout.scenes, most, *padded.shape[1:])
    prefixes = prefix.reshape(layout.scenes, layout.prefix, *prefix.shape[1:])
    return prefixes.transpose(1, 2), by_scene.transpose(1, 2)


# transformers makes no mask for an attention it does not know, and hands on [1, 1, n, m] as it is.
# The masks it makes take positions that start anew for the borders of packed samples.
AttentionInterface.register(ATTENTION, shared_prefix_attention)
