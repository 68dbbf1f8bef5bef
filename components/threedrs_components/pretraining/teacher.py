"""Pretrains a micro teacher on a world of posed RGB-D scenes; resumable at any checkpoint."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from threedrs_components.pretraining.teacher_world import read_world
from threedrs_components.randomness import seeded
from threedrs_components.scenes.rgbd_folder import RGBDFolder
from threedrs_components.teachers.weights import UNREADABLE
from threedrs_components.training.stages import schedule
from threedrs_platform import sealed
from threedrs_platform.errors import DataError, StepFailed
from threedrs_platform.records import Metric

if TYPE_CHECKING:
    from threedrs_components.pretraining.teacher_config import TeacherPretraining

STEM = "pretraining"
"""Of the names of checkpoints."""
QUALITY = "quality.json"
TRAIN, HELD_OUT = "train", "val"
"""Splits of the teacher's world."""
BETAS = (0.9, 0.95)

Progress = Callable[[int, int, str], None]
Log = Callable[[int, Mapping[str, float]], None]


class Pretraining(Protocol):
    """What the loop needs: a module, its loss on drawn scenes, its quality, its file format."""

    @property
    def module(self) -> nn.Module:
        """What is trained."""
        ...

    def loss(self, scenes: Tensor, noise: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss of some scenes and its parts; all randomness comes from `noise`."""
        ...

    def quality(self, train: Tensor, held_out: Tensor) -> list[Metric]:
        """Metrics on held-out scenes, each with a trivial guess as `chance`."""
        ...

    def save(self, out: Path) -> None:
        """Write the weights."""
        ...


def pretrain_teacher(
    config: TeacherPretraining,
    world_root: Path,
    out: Path,
    *,
    resume_dir: Path | None = None,
    progress: Progress = lambda done, total, note: None,
    log: Log = lambda step, values: None,
    warn: sealed.Warn = warnings.warn,
) -> list[Metric]:
    """Train a teacher and measure it on scenes that it has not seen.

    Args:
        config: teacher widths and optimisation.
        world_root: folder of posed RGB-D scenes with the splits "train" and "val".
        out: receives the weights, their config.json, and quality.json.
        resume_dir: where checkpoints go and are looked for; None trains without.
        progress: called with (steps done, all steps, note).
        log: called with (step, parts of the loss), for steps before a resume, too.
        warn: told of a checkpoint that is damaged; the one before is gone on from.

    Returns:
        The metrics of quality.json.
    """
    task, train, held_out = _prepare(config, world_root, progress)
    _optimise(config, task, train, resume_dir, progress, log, warn)
    metrics = task.quality(train, held_out)
    out.mkdir(parents=True, exist_ok=True)
    task.save(out)
    _write_quality(out, config, metrics, len(train), len(held_out))
    return metrics


def _prepare(
    config: TeacherPretraining, world_root: Path, progress: Progress
) -> tuple[Pretraining, Tensor, Tensor]:
    splits = [RGBDFolder(world_root).scenes(split) for split in (TRAIN, HELD_OUT)]
    if not all(splits):
        raise DataError(f"{world_root}: needs scenes to train on and scenes to measure on")
    every = [*splits[0], *splits[1]]
    world = read_world(world_root, every, config.image_size, config.target_cells, progress)
    with seeded(config.seed):
        task = config.build(world)
    scenes = torch.arange(len(every))
    return task, scenes[: len(splits[0])], scenes[len(splits[0]) :]


def _optimise(
    config: TeacherPretraining,
    task: Pretraining,
    train: Tensor,
    resume_dir: Path | None,
    progress: Progress,
    log: Log,
    warn: sealed.Warn,
) -> None:
    optimizer = make_optimizer(config, task.module)
    newest = sealed.newest_sound(resume_dir, STEM, warn) if resume_dir else None
    curve: list[dict[str, float]] = []
    if newest is not None:
        curve = _resume(newest, task.module, optimizer, config.fingerprint())
    for step, values in enumerate(curve, start=1):
        log(step, values)
    task.module.train()
    for step in range(len(curve), config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * schedule(step, config.steps, config.warmup_ratio)
        loss, parts = task.loss(*draw(config, step, train))
        _check_finite(float(loss.detach()), step)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(task.module.parameters(), config.clip)
        optimizer.step()
        curve.append({"loss": float(loss.detach()), **parts})
        log(step + 1, curve[-1])
        progress(step + 1, config.steps, "pretraining")
        if resume_dir and ((step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps):
            _checkpoint(resume_dir, curve, task.module, optimizer, config.fingerprint())
    task.module.eval()


def draw(config: TeacherPretraining, step: int, train: Tensor) -> tuple[Tensor, torch.Generator]:
    """Scenes and noise of a step: a function of seed and step alone, so a resume is exact."""
    random = np.random.default_rng((config.seed, step))
    wanted = config.scenes_per_step
    chosen = random.choice(len(train), wanted, replace=wanted > len(train))
    noise = torch.Generator().manual_seed(int(random.integers(2**62)))
    return train[torch.from_numpy(chosen)], noise


def make_optimizer(config: TeacherPretraining, module: nn.Module) -> torch.optim.Optimizer:
    """AdamW; only matrices decay."""
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=BETAS, fused=True)


def _checkpoint(
    folder: Path,
    curve: list[dict[str, float]],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: str,
) -> None:
    """Write the state after as many steps as the curve has points."""
    state = {"model": module.state_dict(), "optimizer": optimizer.state_dict()}
    content = {"curve": curve, "recipe": recipe, **state}
    path = sealed.numbered(folder, STEM, len(curve))
    sealed.write_sealed(path, lambda partial: torch.save(content, partial))
    sealed.forget_older(folder, STEM)


def _resume(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, recipe: str
) -> list[dict[str, float]]:
    """Load a checkpoint of the same recipe; the curve of its steps."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise DataError(f"{path}: unreadable; delete it to start over: {error}") from error
    if state["recipe"] != recipe:
        raise DataError(f"{path}: a checkpoint of another configuration; use another folder")
    module.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return [*state["curve"]]


def _check_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise StepFailed(
            f"teacher pretraining diverged: the loss is {loss} at step {step}; "
            "lower teacher_pretraining's learning_rate",
            "diverged",
        )


def _write_quality(
    out: Path,
    config: TeacherPretraining,
    metrics: list[Metric],
    train: int,
    held_out: int,
) -> None:
    content = {
        "metrics": [asdict(metric) for metric in metrics],
        "training_scenes": train,
        "held_out_scenes": held_out,
        "recipe": config.identity(),
    }
    (out / QUALITY).write_text(json.dumps(content, indent=2))
