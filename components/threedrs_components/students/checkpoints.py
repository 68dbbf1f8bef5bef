"""A student on disk: config.json, model.safetensors, and its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration
from transformers.initialization import no_init_weights

from threedrs_components.students.config import LlavaVideoConfig
from threedrs_components.students.llava_video import Frames, LlavaVideo
from threedrs_components.students.tokenizer import StudentTokenizer
from threedrs_components.training.randomness import undisturbed
from threedrs_platform.errors import CheckpointError

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
POINTER_FILE = "pointer.json"
KIND = "llava_video"


def is_student(folder: Path) -> bool:
    """Whether a folder was written by `save_student`."""
    path = folder / CONFIG_FILE
    return path.is_file() and json.loads(path.read_text()).get("kind") == KIND


def save_student(student: LlavaVideo, folder: Path) -> None:
    """Write the whole student; equal weights give equal files."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "kind": KIND,
        "student": student.config.model_copy(update={"checkpoint": None}).model_dump(mode="json"),
        "model": student.model.config.to_dict(),
    }
    (folder / CONFIG_FILE).write_text(json.dumps(content, indent=1, sort_keys=True, default=str))
    tensors = {name: value.detach().contiguous() for name, value in student.state_dict().items()}
    save_file(tensors, folder / WEIGHTS_FILE)
    student.tokenizer.save(folder)


def load_student(folder: Path | str, config: LlavaVideoConfig | None = None) -> LlavaVideo:
    """Read a student in evaluation mode.

    Args:
        folder: written by `save_student`.
        config: what to change of the stored configuration (position encoding, object features,
            blindness); its widths are those of the stored weights.

    Raises:
        CheckpointError: a file is unreadable, or a tensor is missing, unknown or misshaped.
    """
    folder = Path(folder)
    try:
        content: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text())
        tensors = load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: student cannot be read: {error}") from error
    if content.get("kind") != KIND:
        raise CheckpointError(f"{folder}/{CONFIG_FILE}: not a {KIND} student")
    stored = LlavaVideoConfig(**{**content["student"], "checkpoint": str(folder)})
    chosen = stored if config is None else config.model_copy(update={"micro": stored.micro})
    with undisturbed(), no_init_weights():
        model = LlavaOnevisionForConditionalGeneration(
            LlavaOnevisionConfig.from_dict(content["model"])
        )
    student = LlavaVideo(chosen, model, StudentTokenizer.load(folder))
    try:
        student.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{folder}/{WEIGHTS_FILE}: {error}") from error
    return student.eval()


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
    student: LlavaVideo, images: Tensor, coordinates: Tensor, layer: int = -1
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
