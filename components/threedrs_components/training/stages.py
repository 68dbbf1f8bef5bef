"""A short resumable optimisation of one loss, for pretraining on one process."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from threedrs_platform.errors import CheckpointError, StepFailed

CLIP = 1.0
WARMUP = 0.03
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Stage:
    """How long, how fast, and where its state is kept."""

    name: str
    steps: int
    learning_rate: float
    checkpoint_every: int
    state: Path
    """File that survives a failed attempt."""


def run_stage(
    stage: Stage, module: nn.Module, loss_of: Callable[[int], Tensor], progress: Progress
) -> float:
    """AdamW over the module's trainable parameters; returns the last loss.

    Args:
        stage: its settings.
        module: restored from the state file if there is one.
        loss_of: the loss at a step; a pure function of step and weights.
        progress: told steps done, all steps, and the loss.

    Raises:
        CheckpointError: the state file does not fit.
        StepFailed: the loss is no longer finite; no state of that step is written.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.0, fused=True)
    first = _restore(stage, module, optimizer)
    value = math.nan
    for step in range(first, stage.steps):
        for group in optimizer.param_groups:
            group["lr"] = stage.learning_rate * schedule(step, stage.steps, WARMUP)
        loss = loss_of(step)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise StepFailed(
                f"{stage.name} pretraining diverged: the loss is {value} at step {step}; "
                f"lower student_pretraining.{stage.name}_learning_rate",
                "diverged",
            )
        progress(step + 1, stage.steps, f"{stage.name}: loss {value:.3f}")
        if (step + 1) % stage.checkpoint_every == 0 or step + 1 == stage.steps:
            _keep(stage, step + 1, module, optimizer)
    return value


def schedule(step: int, steps: int, warmup_ratio: float, *, from_zero: bool = False) -> float:
    """Share of the peak rate at a step: linear warm-up, then half a cosine down to zero.

    With `from_zero` the first step moves nothing, as under the schedule of transformers.
    """
    warmup = math.ceil(warmup_ratio * steps)
    if step < warmup:
        return step / warmup if from_zero else (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _keep(stage: Stage, step: int, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    stage.state.parent.mkdir(parents=True, exist_ok=True)
    unfinished = stage.state.with_suffix(".unfinished")
    content = {
        "step": step,
        "steps": stage.steps,
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(content, unfinished)
    unfinished.replace(stage.state)


def _restore(stage: Stage, module: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    if not stage.state.is_file():
        return 0
    try:
        content = torch.load(stage.state, weights_only=True)
        module.load_state_dict(content["module"])
        optimizer.load_state_dict(content["optimizer"])
    except (OSError, RuntimeError, ValueError, KeyError, EOFError) as error:
        raise CheckpointError(f"{stage.state}: cannot be continued: {error}") from error
    return int(content["step"])
