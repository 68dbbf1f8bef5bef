"""Training checkpoints: folders that exist whole or not at all, newest kept."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from threedrs_platform.errors import CheckpointError

_NAME = re.compile(r"step-(\d{7})")
PROGRESS_FILE = "progress.pt"


@dataclass
class Progress:
    """Where training stands between two steps."""

    step: int
    """Steps done."""
    window: dict[str, float]
    """Sums since the last report."""
    identity: str
    """Fingerprint of everything that decides the weights."""


def newest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint with the highest step."""
    if not folder.is_dir():
        return None
    complete = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    return max(complete, key=lambda path: path.name, default=None)


def write_checkpoint(
    folder: Path,
    progress: Progress,
    save: Callable[[Path], None],
    is_first_rank: bool,
    barrier: Callable[[], None],
) -> Path:
    """Write beside the older ones, rename, then delete those.

    Args:
        folder: of the checkpoints, shared by all ranks.
        progress: written by the first rank.
        save: writes this rank's tensors into a folder; called on every rank.
        is_first_rank: one rank makes, renames and deletes folders.
        barrier: waits for all ranks.
    """
    target = folder / f"step-{progress.step:07d}"
    unfinished = folder / f"unfinished-{target.name}"
    if is_first_rank:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        torch.save(vars(progress), unfinished / PROGRESS_FILE)
    barrier()
    save(unfinished)
    barrier()
    if is_first_rank:
        shutil.rmtree(target, ignore_errors=True)
        unfinished.rename(target)
        for older in folder.iterdir():
            if older != target and (_NAME.fullmatch(older.name) or older.name.startswith("unfin")):
                shutil.rmtree(older, ignore_errors=True)
    barrier()
    return target


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
