"""Number formats of weights: one for all of a student's, float32 for what must not be rounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from threedrs_platform.errors import CheckpointError

STORED = "stored"
"""Stands for the format that a file has."""
COPIED_BELOW_BYTES = 1 << 28
"""Weights of so few bytes do not stay in their file: mapped tensors begin at any byte, and the
kernels of CPUs round otherwise than where all begin at a multiple of 64."""


def wanted_dtype(name: str, stored: torch.dtype) -> torch.dtype:
    """The format with a name, or the one that a file has."""
    found: torch.dtype = stored if name == STORED else getattr(torch, name)
    return found


def stored_dtype(files: Iterable[Path]) -> torch.dtype:
    """The format that most numbers of some safetensors files have; reads no weight.

    Raises:
        CheckpointError: a file cannot be read, or none holds a tensor of floating point.
    """
    numbers: Counter[torch.dtype] = Counter()
    for path in files:
        try:
            with safe_open(path, framework="pt") as content:
                names = content.keys()
                for name in names:
                    tensor = content.get_tensor(name)  # a view of the mapped file
                    if tensor.is_floating_point():
                        numbers[tensor.dtype] += tensor.numel()
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: cannot be read: {error}") from error
    if not numbers:
        raise CheckpointError("the weights hold no tensor of floating point")
    return numbers.most_common(1)[0][0]


@torch.no_grad()
def place(module: nn.Module, dtype: torch.dtype, device: torch.device | str) -> None:
    """Bring weights to a device and a format, one after the other: no second copy of all of them.

    Buffers keep their format: a rotary frequency in bfloat16 is wrong by turns.

    Raises:
        CheckpointError: a weight is too large for the format.
    """
    few = sum(each.nbytes for each in module.parameters()) < COPIED_BELOW_BYTES
    for name, parameter in module.named_parameters():
        moved = parameter.data.to(device, copy=few)
        narrowed = moved.to(dtype) if moved.is_floating_point() else moved
        if dtype == torch.float16 and moved.dtype != dtype:
            _refuse_overflow(name, moved, narrowed)
        parameter.data = narrowed
    for part in module.modules():
        for name, buffer in part.named_buffers(recurse=False):
            part._buffers[name] = buffer.to(device)


def exact_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Copies of all buffers of floating point, to be put back after somebody has rounded them."""
    return {
        name: buffer.clone()
        for name, buffer in module.named_buffers()
        if buffer.is_floating_point()
    }


def put_back(module: nn.Module, buffers: dict[str, Tensor]) -> None:
    """Give the module its exact buffers again, where they are now."""
    for name, exact in buffers.items():
        path, _, leaf = name.rpartition(".")
        owner = module.get_submodule(path)
        now = owner.get_buffer(leaf)
        owner._buffers[leaf] = exact.to(now.device)


def _refuse_overflow(name: str, before: Tensor, after: Tensor) -> None:
    if bool((after.isinf() & before.isfinite()).any()):
        largest = float(before.abs().max())
        raise CheckpointError(
            f"{name}: has values up to {largest:.3g}, and float16 ends at 65504; "
            "set evaluation.dtype: bfloat16 (or stored, float32)"
        )
