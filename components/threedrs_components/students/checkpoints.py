"""A student on disk: config.json, model.safetensors, and its tokenizer."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from threedrs_components.randomness import undisturbed
from threedrs_components.students.dtypes import STORED, place, stored_dtype, wanted_dtype
from threedrs_components.students.folder import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    read_student_config,
    refuse_kind,
)
from threedrs_components.students.fusion import Fusion
from threedrs_components.students.passes import Frames
from threedrs_components.students.places import Place
from threedrs_components.students.settings import MicroWidths, StudentSettings
from threedrs_components.students.student import Student
from threedrs_components.students.tied import tie, tied_names
from threedrs_components.students.tokenizer import StudentTokenizer
from threedrs_platform.errors import CheckpointError


def save_student(student: Student, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write the whole student; equal weights give equal files.

    A student that is half of one, half of another number format cannot compute, so all of it is
    written in one. Tied weights are written once.

    Args:
        student: to write.
        folder: gets its files.
        dtype: that of its heads where none is given.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dtype = student.dtype if dtype is None else dtype
    content = {
        "kind": student.config.kind,
        "student": student.config.model_copy(update={"checkpoint": None}).model_dump(mode="json"),
        "model": _with_dtype(student.model.config.to_dict(), str(dtype).removeprefix("torch.")),
    }
    if student.fusion is not None:
        content["fusion"] = student.fusion.stored()
    (folder / CONFIG_FILE).write_text(json.dumps(content, indent=1, sort_keys=True, default=str))
    further = tied_names(student)
    tensors = {
        name: _in_format(value.detach(), dtype).contiguous()
        for name, value in student.state_dict().items()
        if name not in further
    }
    # The student's own weights may be mapped from the file that this one replaces.
    unfinished = folder / f"unfinished-{WEIGHTS_FILE}"
    save_file(tensors, unfinished)
    unfinished.replace(folder / WEIGHTS_FILE)
    student.tokenizer.save(folder)


def load_student(
    folder: Path,
    config: StudentSettings,
    dtype: str = STORED,
    device: torch.device | str = "cpu",
) -> Student:
    """Read a student in evaluation mode. On a CPU its weights are those of the file, mapped.

    Args:
        folder: written by `save_student`.
        config: of its kind. It may differ from the stored one (position encoding, object features,
            blindness), but for the widths: those are of the stored weights.
        dtype: of all weights; "stored" is what the file has.
        device: of all weights.

    Raises:
        CheckpointError: a file is unreadable, the folder holds another kind of student, or a
            tensor is missing, unknown, misshaped or too large for the format.
    """
    content = read_student_config(folder)
    refuse_kind(folder, content, config)
    try:
        tensors = load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: student cannot be read: {error}") from error
    widths = MicroWidths.model_validate(content["student"]["micro"])
    architecture, tokenizer = config.architecture(), StudentTokenizer.load(folder)
    model = empty_model(architecture, content["model"])
    with torch.device("meta"):
        student = architecture(config.model_copy(update={"micro": widths}), model, tokenizer)
        if "fusion" in content:
            student.fusion = Fusion.of(content["fusion"], student.width)
    further = tied_names(student)
    try:
        shared = {name: tensors[known] for name, known in further.items() if known in tensors}
        student.load_state_dict({**shared, **tensors}, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{folder}/{WEIGHTS_FILE}: {error}") from error
    tie(student, further)
    place(student, wanted_dtype(dtype, stored_dtype([folder / WEIGHTS_FILE])), device)
    return student.eval()


def empty_model(architecture: type[Student], stored: dict[str, Any]) -> PreTrainedModel:
    """A model whose weights are on the meta device, from its stored configuration.

    Buffers that no file holds, such as rotary frequencies, are real.
    """
    config_class: Any = architecture.model_class.config_class
    # With a format, transformers builds parts in it by a default of the whole process.
    config = config_class.from_dict(_with_dtype(stored, None))
    with torch.device("meta"):
        model: Any = architecture.model_class(config)
    unknown = []
    for name, part in model.named_modules():
        for leaf, buffer in part.named_buffers(recurse=False):
            fill = math.nan if buffer.is_floating_point() else -1
            part._buffers[leaf] = torch.full_like(buffer, fill, device="cpu")
            unknown.append(f"{name}.{leaf}")
    # Swaps torch's initialisers for the whole process, all threads included; meta weights stay.
    with undisturbed():
        model.initialize_weights()
    for name in unknown:
        buffer = model.get_buffer(name)
        assert not (buffer.isnan() if buffer.is_floating_point() else buffer < 0).any(), name
    whole: PreTrainedModel = model
    return whole


def _with_dtype(config: dict[str, Any], dtype: str | None) -> dict[str, Any]:
    """A transformers configuration whose parts all name one format, or none."""
    inner = {
        name: _with_dtype(value, dtype) if name.endswith("_config") and value else value
        for name, value in config.items()
        if name not in ("dtype", "torch_dtype")
    }
    return inner if dtype is None else {**inner, "dtype": dtype}


def _in_format(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


@torch.no_grad()
def student_features(
    student: Student,
    images: Tensor,
    coordinates: Tensor,
    layer: Place = -1,
    guidance: Tensor | None = None,
) -> Tensor:
    """States [F, P, P, C] float32 of one place and scene at its visual tokens.

    Args:
        student: not blind.
        images: [F, 3, H, W] float32 in [0, 1], of the student's size.
        coordinates: [F, P, P, 3] float32 metres; exactly zero where a cell has no valid pixel.
        layer: a place; -1 is after the final norm.
        guidance: [F, P, P, D] a teacher's features, for a student that reads them.
    """
    return places_features(student, images, coordinates, (layer,), guidance)[layer].float()


@torch.no_grad()
def places_features(
    student: Student,
    images: Tensor,
    coordinates: Tensor,
    places: Sequence[Place],
    guidance: Tensor | None = None,
) -> dict[Place, Tensor]:
    """The same of several places in one pass, in the student's number format."""
    counts = (coordinates != 0).any(-1)
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    frames = Frames(
        pixels[None],
        coordinates[None],
        counts[None],
        guidance=None if guidance is None else guidance[None],
    ).to(student.device)
    hidden = student.prefill(frames, places).output.hidden
    return {place: hidden[place][0] for place in places}
