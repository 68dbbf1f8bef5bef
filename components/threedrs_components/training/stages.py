"""A short resumable optimisation of one loss, for pretraining on one process."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from threedrs_platform import sealed
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
    states: Path
    """Folder in which sealed states survive a failed attempt, the two newest."""


def run_stage(
    stage: Stage,
    module: nn.Module,
    loss_of: Callable[[int], Tensor],
    progress: Progress,
    warn: sealed.Warn,
) -> float:
    """AdamW over the module's trainable parameters; returns the last loss.

    Args:
        stage: its settings.
        module: restored from the newest sound state, if there is one.
        loss_of: the loss at a step; a pure function of step and weights.
        progress: told steps done, all steps, and the loss.
        warn: told of a state that is damaged; the one before is gone on from.

    Raises:
        CheckpointError: the state does not fit.
        StepFailed: the loss is no longer finite; no state of that step is written.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.0, fused=True)
    first = _restore(stage, module, optimizer, warn)
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
    content = {
        "step": step,
        "steps": stage.steps,
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    path = sealed.numbered(stage.states, stage.name, step)
    sealed.write_sealed(path, lambda partial: torch.save(content, partial))
    sealed.forget_older(stage.states, stage.name)


def _restore(
    stage: Stage, module: nn.Module, optimizer: torch.optim.Optimizer, warn: sealed.Warn
) -> int:
    state = sealed.newest_sound(stage.states, stage.name, warn)
    if state is None:
        return 0
    try:
        content = torch.load(state, weights_only=True)
        module.load_state_dict(content["module"])
        optimizer.load_state_dict(content["optimizer"])
    except (OSError, RuntimeError, ValueError, KeyError, EOFError) as error:
        raise CheckpointError(f"{state}: cannot be continued: {error}") from error
    return int(content["step"])
