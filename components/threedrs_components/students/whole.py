"""Whether the weights that a student starts from load, and every number of them is one.

Headers tell of names and shapes before a run; this reads the weights, once, before the first GPU
works with them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from threedrs_components.randomness import undisturbed
from threedrs_components.students.checkpoints import load_student
from threedrs_components.students.folder import is_student
from threedrs_components.students.published_weights import read_published
from threedrs_components.students.settings import StudentSettings
from threedrs_platform.errors import CheckpointError


def check_whole(
    config: StudentSettings, folder: Path, progress: Callable[[int, int, str], object]
) -> None:
    """Load a student's start as it is stored, and look at every weight. Files stay mapped.

    Args:
        config: of the student, whose settings of use do not matter.
        folder: of its weights.
        progress: told of (tensors looked at, tensors, "").

    Raises:
        CheckpointError: the weights do not load, or one is not a number (NaN) or infinite.
    """
    weights = dict(_model(config, folder).named_parameters())
    for done, (name, weight) in enumerate(weights.items(), start=1):
        if not _is_finite(weight.detach()):
            odd = int((~weight.isfinite()).sum())
            raise CheckpointError(
                f"{folder}: {name}: {odd} of {weight.numel()} weights are NaN or "
                "infinite, and so would be every answer; download or save them again"
            )
        progress(done, len(weights), "")


def _model(config: StudentSettings, folder: Path) -> nn.Module:
    if is_student(folder):
        return load_student(folder, config)
    with undisturbed():
        return read_published(config, folder, for_use=False)[0]


def _is_finite(weight: Tensor) -> bool:
    """By their sum, which makes no copy; by each of them where the sum alone overflows."""
    return bool(weight.sum(dtype=torch.float32).isfinite()) or bool(weight.isfinite().all())
