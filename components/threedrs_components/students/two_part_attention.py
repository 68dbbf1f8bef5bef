"""Attention to a shared prefix and to the own question, computed apart and merged exactly.

Every part gives its outputs and the log of its sum of exponentials, so that no mask, no scores of
the prefix and no repeated keys of it ever exist. Going back, a part only needs what the whole gave.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_OPS = torch.ops.aten


@dataclass(frozen=True)
class Padding:
    """Rows of unequal length beside each other. N tokens in all."""

    rows: int
    columns: int
    places: Tensor
    """[N] where each token lies among rows x columns"""

    def padded(self, flat: Tensor) -> Tensor:
        """[N, H, ...] to [rows, H, columns, ...], zeros where there is no token."""
        empty = flat.new_zeros(self.rows * self.columns, *flat.shape[1:])
        filled = empty.index_copy_(0, self.places, flat)
        by_row = filled.reshape(self.rows, self.columns, *flat.shape[1:])
        return by_row.transpose(1, 2).contiguous()

    def flat(self, padded: Tensor) -> Tensor:
        """[rows, H, columns, ...] to [N, H, ...]."""
        return padded.transpose(1, 2).flatten(0, 1).index_select(0, self.places)


class Kernel(Protocol):
    """Attention of queries [B, H, n, d] to keys and values [B, G, m, d], H a multiple of G.

    `sums` [B, H, n] is the log of the sum of exponentials. Causal attention has n = m.
    """

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool
    ) -> tuple[Tensor, Tensor, tuple[Any, ...]]:
        """Outputs [B, H, n, d], sums, and what else `backward` wants."""
        ...

    def backward(
        self,
        gradient: Tensor,
        inputs: tuple[Tensor, Tensor, Tensor],
        out: Tensor,
        sums: Tensor,
        state: tuple[Any, ...],
        scale: float,
        causal: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of the inputs; outputs and sums may be of an attention to more keys."""
        ...


class PlainKernel:
    """In plain operations, on any device, in float32 at least; scores [B, H, n, m] exist."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool
    ) -> tuple[Tensor, Tensor, tuple[Any, ...]]:
        """Scores, softmax, sum."""
        out, sums = plain_attention(query, key, value, scale, _seen(query) if causal else None)
        return out, sums, ()

    def backward(
        self,
        gradient: Tensor,
        inputs: tuple[Tensor, Tensor, Tensor],
        out: Tensor,
        sums: Tensor,
        state: tuple[Any, ...],
        scale: float,
        causal: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The softmax anew from the sums, and back through it."""
        query, key, value = (_wide(each) for each in inputs)
        seen = _seen(query) if causal else None
        groups, gradient = key.shape[1], _wide(gradient)
        shares = (_scores(query, key, scale, seen) - sums[..., None]).exp()
        towards = _scores(gradient, value, 1.0, None)
        towards = shares * (towards - (gradient * _wide(out)).sum(-1, keepdim=True)) * scale
        shares, towards = folded(shares, groups), folded(towards, groups)
        gradients = (
            (towards @ key).reshape(query.shape),
            towards.mT @ folded(query, groups),
            shares.mT @ folded(gradient, groups),
        )
        of_query, of_key, of_value = (
            each.to(given.dtype) for each, given in zip(gradients, inputs, strict=True)
        )
        return of_query, of_key, of_value


class CpuKernel:
    """Torch's blockwise kernel for the CPU."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool
    ) -> tuple[Tensor, Tensor, tuple[Any, ...]]:
        """Block by block."""
        out, sums = _OPS._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal, scale=scale
        )
        return out, sums, ()

    def backward(
        self,
        gradient: Tensor,
        inputs: tuple[Tensor, Tensor, Tensor],
        out: Tensor,
        sums: Tensor,
        state: tuple[Any, ...],
        scale: float,
        causal: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Block by block."""
        gradients: tuple[Tensor, Tensor, Tensor] = (
            _OPS._scaled_dot_product_flash_attention_for_cpu_backward(
                gradient, *inputs, out, sums, 0.0, causal, scale=scale
            )
        )
        return gradients


class FlashKernel:
    """Flash attention on CUDA, in half precision."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool
    ) -> tuple[Tensor, Tensor, tuple[Any, ...]]:
        """The state are lengths, and seeds of a dropout that there is not."""
        out, sums, *state, _ = _OPS._scaled_dot_product_flash_attention(
            query, key, value, 0.0, causal, False, scale=scale
        )
        return out, sums, tuple(state)

    def backward(
        self,
        gradient: Tensor,
        inputs: tuple[Tensor, Tensor, Tensor],
        out: Tensor,
        sums: Tensor,
        state: tuple[Any, ...],
        scale: float,
        causal: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As torch's ring attention calls it: with outputs and sums of the whole."""
        lengths, seeds = state[:4], state[4:]
        gradients: tuple[Tensor, Tensor, Tensor] = (
            _OPS._scaled_dot_product_flash_attention_backward(
                gradient, *inputs, out, sums, *lengths, 0.0, causal, *seeds, scale=scale
            )
        )
        return gradients


def kernel_for(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Kernel:
    """The fastest one that takes these tensors."""
    if query.device.type == "cpu":
        return CpuKernel()
    if query.device.type == "cuda":
        grouped = query.shape[1] != key.shape[1]
        wanted = torch.backends.cuda.SDPAParams(query, key, value, None, 0.0, causal, grouped)
        if torch.backends.cuda.can_use_flash_attention(wanted):
            return FlashKernel()
    return PlainKernel()


class TwoPartAttention(torch.autograd.Function):
    """Questions packed behind prefixes: each token attends to its prefix and its own question."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        prefix_key: Tensor,
        prefix_value: Tensor,
        by_scene: Padding,
        by_question: Padding,
        scale: float,
    ) -> Tensor:
        """Outputs [N, H, d].

        Args:
            ctx: keeps inputs, outputs and sums.
            query: [N, H, d] of the question tokens.
            key: [N, G, d] of the question tokens.
            value: like key.
            prefix_key: [S, G, V, d].
            prefix_value: like prefix_key.
            by_scene: question tokens of each scene.
            by_question: tokens of each question.
            scale: of the scores.
        """
        parts = _parts(query, key, value, prefix_key, prefix_value, by_scene, by_question)
        kernels = [kernel_for(*inputs, causal) for _, inputs, causal in parts]
        computed = [
            kernel.forward(*inputs, scale, causal)
            for kernel, (_, inputs, causal) in zip(kernels, parts, strict=True)
        ]
        heads = query.shape[1]
        (first, first_sums), (second, second_sums) = (
            (padding.flat(_unfolded(out, heads)), padding.flat(_unfolded(sums, heads)))
            for (padding, _, _), (out, sums, _) in zip(parts, computed, strict=True)
        )
        out, sums = merged(first, first_sums, second, second_sums)
        ctx.save_for_backward(query, key, value, prefix_key, prefix_value, out, sums)
        ctx.paddings, ctx.scale = (by_scene, by_question), scale
        ctx.kernels, ctx.states = kernels, [state for _, _, state in computed]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Each part on its own, with the outputs and sums of both."""
        *inputs, out, sums = ctx.saved_tensors
        found: list[Tensor] = []
        of_query = torch.zeros_like(inputs[0])
        parts = _parts(*inputs, *ctx.paddings)
        for (padding, own, causal), kernel, state in zip(
            parts, ctx.kernels, ctx.states, strict=True
        ):
            groups = own[0].shape[1]
            whole = [folded(padding.padded(each), groups) for each in (gradient, out, sums)]
            parted = kernel.backward(whole[0], own, whole[1], whole[2], state, ctx.scale, causal)
            of_query += padding.flat(_unfolded(parted[0], out.shape[1]))
            found += parted[1:]
        prefix_key, prefix_value, key, value = found
        by_question = ctx.paddings[1]
        own_gradients = (by_question.flat(key), by_question.flat(value))
        return (of_query, *own_gradients, prefix_key, prefix_value, None, None, None)


def merged(
    first: Tensor, first_sums: Tensor, second: Tensor, second_sums: Tensor
) -> tuple[Tensor, Tensor]:
    """Outputs [..., d] and sums [...] of attention to the keys of both parts."""
    sums = torch.logaddexp(first_sums, second_sums)
    out = first * (first_sums - sums).exp()[..., None]
    out = out + second * (second_sums - sums).exp()[..., None]
    return out.to(first.dtype), sums


def plain_attention(
    query: Tensor, key: Tensor, value: Tensor, scale: float, seen: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Outputs [B, H, n, d] and sums [B, H, n]; `seen` [n, m] bool, a row may see nothing."""
    scores = _scores(_wide(query), _wide(key), scale, seen)
    sums = scores.logsumexp(-1)
    shares = folded((scores - sums[..., None]).exp(), key.shape[1])
    return (shares @ _wide(value)).reshape(query.shape).to(query.dtype), sums


def folded(heads: Tensor, groups: int) -> Tensor:
    """[B, H, n, ...] to [B, groups, H / groups * n, ...]: heads of one key as further queries."""
    return heads.reshape(heads.shape[0], groups, -1, *heads.shape[3:])


def _unfolded(rows: Tensor, heads: int) -> Tensor:
    """What `folded` made of [B, heads, n, ...]."""
    return rows.reshape(rows.shape[0], heads, -1, *rows.shape[3:])


Part = tuple[Padding, tuple[Tensor, Tensor, Tensor], bool]


def _parts(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prefix_key: Tensor,
    prefix_value: Tensor,
    by_scene: Padding,
    by_question: Padding,
) -> tuple[Part, Part]:
    """Queries, keys and values of both parts, and whether they are causal."""
    behind = (folded(by_scene.padded(query), prefix_key.shape[1]), prefix_key, prefix_value)
    own = (by_question.padded(query), by_question.padded(key), by_question.padded(value))
    return (by_scene, behind, False), (by_question, own, True)


def _scores(query: Tensor, key: Tensor, scale: float, seen: Tensor | None) -> Tensor:
    """[B, H, n, m]; minus infinity where nothing is seen."""
    scores = folded(query, key.shape[1]) @ key.mT * scale
    scores = scores.reshape(*query.shape[:3], key.shape[2])
    return scores if seen is None else scores.masked_fill(~seen, float("-inf"))


def _seen(query: Tensor) -> Tensor:
    length = query.shape[2]
    return torch.ones(length, length, dtype=torch.bool, device=query.device).tril()


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
