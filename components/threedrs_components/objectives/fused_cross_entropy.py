"""Cross-entropy of liger-kernel, where it is installed: gradients take the place of the logits."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

from threedrs_platform.errors import ConfigError, Fault

PACKAGE = "liger_kernel"


def check_fused(device: torch.device) -> None:
    """Refuse what would fail in the first step.

    Raises:
        ConfigError: the package is missing, or the student is not on a GPU.
    """
    if find_spec(PACKAGE) is None:
        complaint = "liger-kernel is not installed: pip install liger-kernel, or set it to false"
        raise ConfigError([Fault(complaint, path="text.fused")])
    if device.type != "cuda":
        complaint = f"liger-kernel computes on GPUs, the student is on {device.type}: set false"
        raise ConfigError([Fault(complaint, path="text.fused")])


def fused_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """[A] float32 of logits [A, V], which are overwritten, and targets [A]."""
    from liger_kernel.transformers.cross_entropy import LigerCrossEntropyLoss

    losses: Tensor = LigerCrossEntropyLoss(reduction="none")(logits, targets)
    return losses.float()
