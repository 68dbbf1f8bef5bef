"""A student on disk: config.json, model.safetensors, and its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights

from threedrs_components.randomness import undisturbed
from threedrs_components.students.folder import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    read_student_config,
    refuse_kind,
)
from threedrs_components.students.passes import Frames
from threedrs_components.students.settings import MicroWidths, StudentSettings
from threedrs_components.students.student import Student
from threedrs_components.students.tokenizer import StudentTokenizer
from threedrs_platform.errors import CheckpointError


def save_student(student: Student, folder: Path) -> None:
    """Write the whole student; equal weights give equal files."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "kind": student.config.kind,
        "student": student.config.model_copy(update={"checkpoint": None}).model_dump(mode="json"),
        "model": student.model.config.to_dict(),
    }
    (folder / CONFIG_FILE).write_text(json.dumps(content, indent=1, sort_keys=True, default=str))
    tensors = {name: value.detach().contiguous() for name, value in student.state_dict().items()}
    save_file(tensors, folder / WEIGHTS_FILE)
    student.tokenizer.save(folder)


def load_student(folder: Path, config: StudentSettings) -> Student:
    """Read a student in evaluation mode.

    Args:
        folder: written by `save_student`.
        config: of its kind. It may differ from the stored one (position encoding, object features,
            blindness), but for the widths: those are of the stored weights.

    Raises:
        CheckpointError: a file is unreadable, the folder holds another kind of student, or a
            tensor is missing, unknown or misshaped.
    """
    content = read_student_config(folder)
    refuse_kind(folder, content, config)
    try:
        tensors = load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: student cannot be read: {error}") from error
    widths = MicroWidths.model_validate(content["student"]["micro"])
    architecture, tokenizer = config.architecture(), StudentTokenizer.load(folder)
    # The heads' initial weights are overwritten below, but they are drawn from the one generator
    # that other threads draw theirs from.
    with undisturbed():
        model = empty_model(architecture, content["model"])
        student = architecture(config.model_copy(update={"micro": widths}), model, tokenizer)
    try:
        student.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{folder}/{WEIGHTS_FILE}: {error}") from error
    return student.eval()


def empty_model(architecture: type[Student], stored: dict[str, Any]) -> PreTrainedModel:
    """A model whose weights are whatever was in memory, from its stored configuration."""
    config_class: Any = architecture.model_class.config_class
    # `no_init_weights` swaps torch's initialisers for the whole process, all threads included.
    with undisturbed(), no_init_weights():
        return architecture.model_class(config_class.from_dict(stored))


@torch.no_grad()
def student_features(
    student: Student, images: Tensor, coordinates: Tensor, layer: int = -1
) -> Tensor:
    """Hidden states [F, P, P, C] float32 of one scene at its visual tokens.

    Args:
        student: not blind.
        images: [F, 3, H, W] float32 in [0, 1], of the student's size.
        coordinates: [F, P, P, 3] float32 metres; exactly zero where a cell has no valid pixel.
        layer: -1 is after the final norm.
    """
    counts = (coordinates != 0).any(-1)
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    frames = Frames(pixels[None], coordinates[None], counts[None]).to(student.device)
    return student.prefill(frames, (layer,)).output.hidden[layer][0].float()
