"""A student to start from: one that was saved, or published weights of its kind."""

from __future__ import annotations

from pathlib import Path

import torch

from threedrs_components.randomness import undisturbed
from threedrs_components.students.checkpoints import load_student
from threedrs_components.students.dtypes import STORED, place, wanted_dtype
from threedrs_components.students.folder import is_student, resolve_student
from threedrs_components.students.published_weights import load_heads, read_published
from threedrs_components.students.settings import StudentSettings
from threedrs_components.students.student import Student
from threedrs_platform.errors import CheckpointError


def student_at(
    folder: Path,
    config: StudentSettings,
    dtype: str = STORED,
    device: torch.device | str = "cpu",
) -> Student:
    """The student of a step's input, in evaluation mode: a trained one, or its start as it is.

    Args:
        folder: artifact of the step that trained it, or of the pretrain step.
        config: of the student.
        dtype: of all weights; "stored" is what the files have.
        device: of all weights.

    Raises:
        CheckpointError: it cannot be read, or does not fit.
    """
    start = resolve_student(folder, config)
    return build_student(config.model_copy(update={"checkpoint": str(start)}), dtype, device).eval()


def build_student(
    config: StudentSettings, dtype: str = "float32", device: torch.device | str = "cpu"
) -> Student:
    """Load `config.checkpoint`; modules that it does not hold get random weights.

    Args:
        config: of the student.
        dtype: of all weights; "stored" is what the files have.
        device: of all weights. They go there one by one: a file is mapped, never copied whole.

    Raises:
        CheckpointError: there is no checkpoint, or it does not fit.
    """
    if config.checkpoint is None:
        raise CheckpointError(
            "a micro student starts from the pretrained 2D student: set checkpoint to its folder "
            "(the pretrain step makes one)"
        )
    folder = Path(config.checkpoint)
    if is_student(folder):
        return load_student(folder, config, dtype, device)
    # transformers swaps torch's initialisers while it loads, and heads draw from its generator.
    with undisturbed():
        model, tokenizer = read_published(config, folder)
        student = config.architecture()(config, model, tokenizer)
    load_heads(folder, student)
    place(student, wanted_dtype(dtype, model.dtype), device)
    return student
