"""Attention in two parts is masked attention to all keys at once, forwards and backwards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import scaled_dot_product_attention

from threedrs_components.students import two_part_attention
from threedrs_components.students.shared_prefix import PrefixLayout
from threedrs_components.students.two_part_attention import (
    CpuKernel,
    FlashKernel,
    Kernel,
    PlainKernel,
    TwoPartAttention,
    plain_attention,
)

LAYOUT = PrefixLayout(prefix=7, lengths=((3, 1, 4), (), (2, 2)))
SHAPES = {"multi-head": (4, 4), "grouped": (4, 2), "one group": (4, 1)}


def tensors(heads: int, groups: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Queries, keys, values of the questions, keys and values of the prefixes."""
    generator = torch.Generator().manual_seed(0)
    tokens, scenes = sum(LAYOUT.scene_tokens), LAYOUT.scenes
    shapes: list[tuple[int, ...]] = [(tokens, heads, 8), *[(tokens, groups, 8)] * 2]
    shapes += [(scenes, groups, LAYOUT.prefix, 8)] * 2
    made = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return [each.to(dtype).requires_grad_() for each in made]


def in_two_parts(inputs: list[Tensor]) -> Tensor:
    packing = LAYOUT.packing(torch.device("cpu"))
    out: Tensor = TwoPartAttention.apply(  # type: ignore[no-untyped-call]
        *inputs, packing.by_scene, packing.by_question, 0.4
    )
    return out


def question_by_question(inputs: list[Tensor]) -> Tensor:
    """With a mask over repeated keys."""
    query, key, value, prefix_key, prefix_value = inputs
    repeat = query.shape[1] // key.shape[1]
    found, first = [], 0
    for scene, lengths in enumerate(LAYOUT.lengths):
        for length in lengths:
            own = slice(first, first + length)
            mask = torch.ones(length, LAYOUT.prefix + length, dtype=torch.bool).tril(LAYOUT.prefix)
            keys, values = (
                torch.cat([prefix[scene], part[own].transpose(0, 1)], 1).repeat_interleave(
                    repeat, 0
                )
                for prefix, part in ((prefix_key, key), (prefix_value, value))
            )
            out = scaled_dot_product_attention(
                query[own].transpose(0, 1)[None], keys[None], values[None], mask, scale=0.4
            )
            found.append(out[0].transpose(0, 1))
            first += length
    return torch.cat(found)


@pytest.mark.parametrize("kernel", [CpuKernel(), PlainKernel()], ids=["blocks", "plain"])
@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_and_gradients_are_those_of_a_mask(
    kernel: Kernel, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(two_part_attention, "kernel_for", lambda *_: kernel)
    inputs = tensors(*SHAPES[shape])
    found, expected = in_two_parts(inputs), question_by_question(inputs)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    weights = torch.randn(
        found.shape, dtype=found.dtype, generator=torch.Generator().manual_seed(1)
    )
    gradients = [torch.autograd.grad((out * weights).sum(), inputs) for out in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kernel", [CpuKernel(), PlainKernel()], ids=["blocks", "plain"])
def test_half_precision_is_as_near_to_the_truth_as_a_mask_is(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(two_part_attention, "kernel_for", lambda *_: kernel)
    exact = question_by_question(tensors(4, 2))
    inputs = tensors(4, 2, torch.bfloat16)
    errors = [
        (out.double() - exact).abs().max()
        for out in (in_two_parts(inputs), question_by_question(inputs))
    ]
    assert in_two_parts(inputs).dtype == torch.bfloat16
    assert errors[0] < 2 * errors[1] < 0.1


def test_a_row_sees_only_what_it_may() -> None:
    query, key, value = (torch.randn(1, heads, 5, 8) for heads in (4, 2, 2))
    seen = torch.rand(5, 5, generator=torch.Generator().manual_seed(0)) > 0.4
    out, sums = plain_attention(query, key, value, 0.3, seen)
    keys, values = (each.repeat_interleave(2, 1) for each in (key, value))
    expected = scaled_dot_product_attention(query, keys, values, seen, scale=0.3)
    torch.testing.assert_close(out, expected)
    scores = (query @ keys.mT * 0.3).masked_fill(~seen, float("-inf"))
    torch.testing.assert_close(sums, scores.logsumexp(-1))


@pytest.mark.parametrize("causal", [False, True])
def test_flash_attention_takes_what_it_is_given_on_cuda(causal: bool) -> None:
    """Shapes and number formats only: this runs where there is no GPU."""
    kernel = FlashKernel()
    with FakeTensorMode():
        query, key = (
            torch.empty(2, heads, 9, 128, device="cuda", dtype=torch.bfloat16) for heads in (4, 2)
        )
        out, sums, state = kernel.forward(query, key, key, 0.1, causal)
        assert (out.shape, out.dtype) == (query.shape, query.dtype)
        assert (sums.shape, sums.dtype) == (query.shape[:3], torch.float32)
        gradients = kernel.backward(query, (query, key, key), out, sums, state, 0.1, causal)
        assert [each.shape for each in gradients] == [query.shape, key.shape, key.shape]
