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
from threedrs_components.students.passes import Frames
from threedrs_components.students.published_weights import read_model_config
from threedrs_components.students.registry import STUDENT_KINDS, kind_of, student_config
from threedrs_components.students.settings import StudentSettings
from threedrs_components.students.student import Student
from threedrs_components.students.tokenizer import StudentTokenizer
from threedrs_platform.errors import CheckpointError

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
POINTER_FILE = "pointer.json"
MODEL_PREFIX = "model."
"""Of the language model's tensors among the student's."""


def build_student(config: StudentSettings, dtype: str = "float32") -> Student:
    """Load `config.checkpoint`: a student folder, or published weights of the kind.

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
        return load_student(folder, config)
    architecture = config.architecture()
    model, tokenizer = architecture.read_weights(folder, getattr(torch, dtype))
    return architecture(config, model, tokenizer).to(model.dtype)


def is_student(folder: Path) -> bool:
    """Whether a folder was written by `save_student`."""
    path = folder / CONFIG_FILE
    return path.is_file() and read_model_config(folder).get("kind") in STUDENT_KINDS


def save_student(student: Student, folder: Path) -> None:
    """Write the whole student; equal weights give equal files."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "kind": kind_of(student.config),
        "student": student.config.model_copy(update={"checkpoint": None}).model_dump(mode="json"),
        "model": student.model.config.to_dict(),
    }
    (folder / CONFIG_FILE).write_text(json.dumps(content, indent=1, sort_keys=True, default=str))
    tensors = {name: value.detach().contiguous() for name, value in student.state_dict().items()}
    save_file(tensors, folder / WEIGHTS_FILE)
    student.tokenizer.save(folder)


def load_student(folder: Path | str, config: StudentSettings | None = None) -> Student:
    """Read a student in evaluation mode.

    Args:
        folder: written by `save_student`.
        config: what to change of the stored configuration (position encoding, object features,
            blindness); its widths are those of the stored weights.

    Raises:
        CheckpointError: a file is unreadable, the folder holds another kind of student, or a
            tensor is missing, unknown or misshaped.
    """
    folder = Path(folder)
    content = read_model_config(folder)
    if content.get("kind") not in STUDENT_KINDS:
        raise CheckpointError(f"{folder}/{CONFIG_FILE}: not written by save_student")
    try:
        tensors = load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: student cannot be read: {error}") from error
    stored = student_config({**content["student"], "checkpoint": str(folder)})
    chosen = stored if config is None else _changed(stored, config, folder)
    architecture = chosen.architecture()
    student = architecture(
        chosen, empty_model(architecture, content["model"]), StudentTokenizer.load(folder)
    )
    try:
        student.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{folder}/{WEIGHTS_FILE}: {error}") from error
    return student.eval()


def write_pretrained(folder: Path, out: Path) -> None:
    """Write a stored student's language model as `from_pretrained` of transformers reads it.

    Grounding head and alignment stay behind: they are no part of that architecture.

    Args:
        folder: written by `save_student`.
        out: gets config.json, model.safetensors under the architecture's own names, tokenizer.
    """
    content = read_model_config(folder)
    architecture = student_config(content["student"]).architecture()
    config = {**content["model"], "architectures": [architecture.model_class.__name__]}
    out.mkdir(parents=True, exist_ok=True)
    (out / CONFIG_FILE).write_text(json.dumps(config, indent=1, sort_keys=True))
    tensors = {
        name.removeprefix(MODEL_PREFIX): value
        for name, value in load_file(folder / WEIGHTS_FILE).items()
        if name.startswith(MODEL_PREFIX)
    }
    save_file(tensors, out / WEIGHTS_FILE, metadata={"format": "pt"})
    StudentTokenizer.load(folder).save(out)


def empty_model(architecture: type[Student], stored: dict[str, Any]) -> PreTrainedModel:
    """A model whose weights are whatever was in memory, from its stored configuration."""
    config_class: Any = architecture.model_class.config_class
    with undisturbed(), no_init_weights():
        return architecture.model_class(config_class.from_dict(stored))


def _changed(stored: StudentSettings, config: StudentSettings, folder: Path) -> StudentSettings:
    if kind_of(stored) != kind_of(config):
        raise CheckpointError(
            f"{folder}: holds a student of kind {kind_of(stored)!r}, not {kind_of(config)!r}"
        )
    return config.model_copy(update={"micro": stored.micro})


def write_pointer(checkpoint: Path | str, folder: Path) -> None:
    """Make `folder` stand for weights that stay where they are.

    Raises:
        CheckpointError: there is nothing to point at.
    """
    path = Path(checkpoint).resolve()
    if not (path / CONFIG_FILE).is_file():
        raise CheckpointError(f"{path}: no {CONFIG_FILE} here; expected a folder with weights")
    (folder / POINTER_FILE).write_text(json.dumps({"checkpoint": str(path)}))


def resolve_student(folder: Path) -> Path:
    """The folder itself, or the one it points at."""
    pointer = folder / POINTER_FILE
    return Path(json.loads(pointer.read_text())["checkpoint"]) if pointer.is_file() else folder


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
