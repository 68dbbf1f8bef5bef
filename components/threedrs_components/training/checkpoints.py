"""Training checkpoints: sealed folders that exist whole or not at all; the two newest are kept.

The next one is whole before the oldest goes, so that the disk must have room for three.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from threedrs_components.training.config import TrainingConfig
from threedrs_platform import sealed
from threedrs_platform.errors import CheckpointError, StorageError

STEM = "step"
_TOGETHER = sealed.KEPT + 1
"""Checkpoints that lie on the disk while one is written."""
_UNFINISHED = "unfinished-"
PROGRESS_FILE = "progress.pt"
MOMENT_BYTES = 8
"""Two float32 moments of AdamW."""
MASTER_BYTES = 4
"""The float32 weights that DeepSpeed updates."""
GB = 1e9
SMALL_BYTES = 0.25 * GB
"""Checkpoints up to here are written in a moment, so that time may ask for one, too."""


@dataclass
class Progress:
    """Where training stands between two steps."""

    step: int
    """Steps done."""
    window: dict[str, float]
    """Sums since the last report."""
    identity: str
    """Fingerprint of everything that decides the weights."""
    reports: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    """All reports up to here: a training that goes on has the curve of its past."""


def newest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint with the highest step."""
    return next(iter(sealed.states(folder, STEM)), None)


def step_of(checkpoint: Path) -> int:
    """The step after which it was written."""
    return int(checkpoint.name.rpartition("-")[2])


def forget_damaged(folder: Path, warn: sealed.Warn) -> Path | None:
    """See to it that the newest checkpoint is as it was written, if any is, and return it.

    Called once, before the ranks start and read it.
    """
    return sealed.newest_sound(folder, STEM, warn)


def seconds_between(training: TrainingConfig, workers: int, size: int) -> float:
    """The longest time without a checkpoint; infinite where steps alone count.

    Several workers would have to agree on the time before each step.

    Args:
        training: how often a checkpoint is asked for.
        workers: that train together.
        size: bytes of a checkpoint.
    """
    by_time = training.checkpoint_seconds > 0 and workers == 1 and size <= SMALL_BYTES
    return training.checkpoint_seconds if by_time else math.inf


def weight_bytes(parameters: Iterable[nn.Parameter]) -> int:
    """Of all weights, before they are sharded."""
    return sum(each.numel() * each.element_size() for each in parameters)


def checkpoint_bytes(parameters: Iterable[nn.Parameter], sharded: bool) -> int:
    """Of one checkpoint at most, the parts of all ranks together.

    Args:
        parameters: of the whole module, before they are sharded.
        sharded: by DeepSpeed.
    """
    learning = [each for each in parameters if each.requires_grad]
    states = MOMENT_BYTES + (MASTER_BYTES if sharded else 0)
    return weight_bytes(learning) + states * sum(each.numel() for each in learning)


def check_room(folder: Path, training: TrainingConfig, checkpoint: int, student: int) -> None:
    """Refuse a training whose checkpoints and student will not fit, before it starts.

    Args:
        folder: of the checkpoints; one that lies there is as large as those to come.
        training: how long, and how often a checkpoint is written.
        checkpoint: bytes of one.
        student: bytes of the trained one.

    Raises:
        StorageError: with the bytes that are needed and free.
    """
    _forget_unfinished(folder)
    every = training.checkpoint_every
    if seconds_between(training, training.workers, checkpoint) < math.inf:
        every = 1
    together = min(_TOGETHER, max(training.steps - 1, 0) // every)
    missing = together - len(sealed.states(folder, STEM)[: sealed.KEPT])
    needed = checkpoint * max(0, missing) + student
    what = f"{together} checkpoints of {in_gb(checkpoint)} and a student of {in_gb(student)}"
    _refuse_without(folder, needed, what)


def write_checkpoint(
    folder: Path,
    progress: Progress,
    save: Callable[[Path], None],
    is_first_rank: bool,
    barrier: Callable[[], None],
    size: int,
) -> Path:
    """Write beside the older ones, seal, rename, then delete all but the one before.

    Args:
        folder: of the checkpoints, shared by all ranks.
        progress: written by the first rank.
        save: writes this rank's tensors into a folder; called on every rank.
        is_first_rank: one rank makes, renames and deletes folders.
        barrier: waits for all ranks.
        size: bytes that it will have.

    Raises:
        StorageError: they are not free; the older checkpoint stays.
    """
    target = sealed.numbered(folder, STEM, progress.step)
    unfinished = folder / f"{_UNFINISHED}{target.name}"
    if is_first_rank:
        _forget_unfinished(folder)
        _refuse_without(folder, size, f"a checkpoint of {in_gb(size)}, those of before kept,")
        unfinished.mkdir(parents=True)
        torch.save(vars(progress), unfinished / PROGRESS_FILE)
    barrier()
    save(unfinished)
    barrier()
    if is_first_rank:
        sealed.seal_folder(unfinished)
        shutil.rmtree(target, ignore_errors=True)
        unfinished.rename(target)
        sealed.forget_older(folder, STEM)
    barrier()
    return target


def in_gb(size: int) -> str:
    """Bytes for people."""
    return f"{size / GB:.3g} GB"


def _forget_unfinished(folder: Path) -> None:
    """What killed attempts left takes room and is of no use."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(path, ignore_errors=True)


def _refuse_without(folder: Path, needed: int, what: str) -> None:
    existing = next(path for path in (folder, *folder.resolve().parents) if path.is_dir())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise StorageError(
            f"{folder}: {what} need {in_gb(needed)} more, and {in_gb(free)} are free; free some "
            "space (`workflows gc --apply`), choose another --workspace, or set "
            "training.checkpoint_every to training.steps, and training.checkpoint_seconds to 0, to "
            "go without checkpoints"
        )


def read_progress(checkpoint: Path, identity: str) -> Progress:
    """Where a checkpoint stands.

    Raises:
        CheckpointError: unreadable, or made by another configuration.
    """
    try:
        progress = Progress(**torch.load(checkpoint / PROGRESS_FILE, weights_only=True))
    except (OSError, TypeError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{checkpoint}: cannot be read: {error}") from error
    if progress.identity != identity:
        raise CheckpointError(
            f"{checkpoint}: was made by another configuration, seed, data or world size; "
            "remove the folder to start anew"
        )
    return progress
