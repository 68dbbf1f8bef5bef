"""AdamW as a configuration chooses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.parameter_groups import ParameterGroup
from threedrs_platform.errors import StepFailed


def make_optimizer(
    groups: Sequence[ParameterGroup], config: TrainingConfig
) -> torch.optim.Optimizer:
    """An optimizer with one group of parameters per group, at its peak rate.

    Raises:
        StepFailed: bitsandbytes is wanted, and not installed.
    """
    members: Any = [
        {"params": list(group.parameters), "lr": group.learning_rate, "name": group.name}
        for group in groups
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(members, weight_decay=config.weight_decay, fused=True)
    try:
        from bitsandbytes import optim
    except ImportError as error:
        cure = "training.optimizer adamw_8bit needs bitsandbytes: pip install -e '.[one-gpu]'"
        raise StepFailed(cure) from error
    untyped: Any = optim
    optimizer: torch.optim.Optimizer = untyped.AdamW8bit(members, weight_decay=config.weight_decay)
    return optimizer
