"""What lies in a student's folder, as far as it can be told without torch.

A student that starts from weights elsewhere is not copied by its pretrain step: the step's folder
only stands for those weights, and holds their digest. Where they lie is not in it, for a renamed
folder has the same content; the configuration of whoever reads the student says it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from threedrs_components.outside_json import CURE, part_of, read_object, told
from threedrs_components.students.settings import StudentSettings
from threedrs_platform.errors import CheckpointError

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
DIGEST_FILE = "weights.json"
"""Digest of the weights that a folder stands for."""
OF_A_STUDENT = frozenset({"kind", "student", "model"})
"""Keys of config.json: the kind's name, its settings, and the model's own configuration."""
PARTS = ("text_config", "llm_config", "vision_config")
"""Keys of published ones: what their language model and vision tower are like."""


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a student, or of published weights.

    Raises:
        CheckpointError: there is none, it is not JSON, or a name or a part is something else.
    """
    path = folder / CONFIG_FILE
    stored = read_object(path)
    names = ("kind",) if stored.keys() >= OF_A_STUDENT else ("model_type",)
    parts = ("student", "model") if stored.keys() >= OF_A_STUDENT else PARTS
    for name in names:
        if not isinstance(stored.get(name), str | None):
            raise CheckpointError(
                f"{path}: {name} is {told(stored[name])}, where a name belongs; {CURE}"
            )
    for name in parts:
        part_of(stored, name, path)
    return stored


def is_student(folder: Path) -> bool:
    """Whether a folder was written by `save_student`."""
    return (folder / CONFIG_FILE).is_file() and read_config(folder).keys() >= OF_A_STUDENT


def read_student_config(folder: Path) -> dict[str, Any]:
    """The config.json of a student.

    Raises:
        CheckpointError: the folder was not written by `save_student`.
    """
    stored = read_config(folder)
    if not stored.keys() >= OF_A_STUDENT:
        kind = stored.get("model_type")
        told = f"published weights of model type {kind!r}" if kind else "no student"
        raise CheckpointError(
            f"{folder}/{CONFIG_FILE}: {told}, not written by save_student; published weights open "
            "with threedrs.load_student(folder, preset=...), whose preset tells how 3D reaches "
            "them, and train as students.*.checkpoint of a grid"
        )
    return stored


def refuse_kind(folder: Path, stored: Mapping[str, Any], config: StudentSettings) -> None:
    """Refuse a student of another kind, or with other settings that are stored with it.

    Raises:
        CheckpointError: what is stored is of another kind, or was made in another way.
    """
    if stored["kind"] != config.kind:
        raise CheckpointError(
            f"{folder}: holds a student of kind {stored['kind']!r}, not {config.kind!r}"
        )
    for name in config.of_weights:
        kept, wanted = stored["student"].get(name), getattr(config, name)
        if kept != wanted:
            raise CheckpointError(
                f"{folder}: its student was made with {name}: {kept!r}, not {wanted!r}; set it so"
            )


def write_pointer(checkpoint: Path | str, digest: str, folder: Path) -> None:
    """Let `folder` stand for weights that stay where they are.

    Args:
        checkpoint: where they are; not written.
        digest: of their content.
        folder: gets the digest.

    Raises:
        CheckpointError: there are no weights.
    """
    if not (Path(checkpoint) / CONFIG_FILE).is_file():
        raise CheckpointError(
            f"{checkpoint}: no {CONFIG_FILE} here; expected a folder with weights"
        )
    (folder / DIGEST_FILE).write_text(json.dumps(digest))


def weights_digest(folder: Path) -> str:
    """Digest of the weights that a folder stands for; "" where the weights lie in it."""
    path = folder / DIGEST_FILE
    return str(json.loads(path.read_text())) if path.is_file() else ""


def resolve_student(folder: Path, config: StudentSettings) -> Path:
    """Where the weights of a start lie: in `folder`, or at the checkpoint of the configuration.

    Args:
        folder: artifact of the pretrain step.
        config: of the student that starts there.

    Raises:
        CheckpointError: the folder stands for weights elsewhere, and no checkpoint is named.
    """
    if is_student(folder):
        return folder
    if config.checkpoint is None:
        raise CheckpointError(f"{folder}: holds no student, and no checkpoint is configured")
    return Path(config.checkpoint).resolve()
