"""Where a student starts, checked by file headers alone: before anything runs. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from threedrs_components.students.attention_names import refuse_unnamed_attention
from threedrs_components.students.folder import is_student, read_config, refuse_kind
from threedrs_components.students.lmms_lab import HEAD_PREFIX, MODEL_TYPES, refuse_contradictions
from threedrs_components.students.settings import StudentSettings
from threedrs_components.students.weight_files import stored_tensors
from threedrs_platform.errors import CheckpointError


def check_start(config: StudentSettings, folder: Path, needs_head: bool = False) -> None:
    """Refuse weights that a student cannot start from, as far as headers tell.

    Args:
        config: of the student.
        folder: holds a student, or published weights.
        needs_head: it chooses among boxes, and nothing trains it to.

    Raises:
        CheckpointError: names what does not fit, and what to do.
    """
    if is_student(folder):
        refuse_kind(folder, read_config(folder), config)
        return
    check_published(config, folder)
    if needs_head and not any(name.startswith(HEAD_PREFIX) for name in stored_tensors(folder)):
        raise CheckpointError(
            f"{folder}: has no grounding head, and nothing trains one (training.steps: 0); leave "
            "benchmarks that choose among boxes out of benchmarks.names, or train"
        )


def check_published(config: StudentSettings, folder: Path) -> dict[str, Any]:
    """The config.json of published weights that may be loaded, as far as headers tell.

    Raises:
        CheckpointError: they are of another model, or no model.
    """
    tensors = stored_tensors(folder)
    stored = read_config(folder)
    refuse_model_type(folder, stored.get("model_type"), config)
    if stored.get("quantization_config"):
        raise CheckpointError(
            f"{folder}/config.json: the weights are quantised (quantization_config), and would be "
            "read as if they were not; take the release in bfloat16"
        )
    if stored["model_type"] in MODEL_TYPES:
        refuse_contradictions(folder, stored, tensors, config)
    config.refuse_weights(folder, stored, tensors)
    refuse_unnamed_attention(folder, tensors)
    return stored


def refuse_model_type(folder: Path, found: object, config: StudentSettings) -> None:
    """Say which published models a kind of student can start from.

    Args:
        folder: of the weights.
        found: its model_type.
        config: of the student, which knows them.

    Raises:
        CheckpointError: always, unless the type is among the expected ones.
    """
    if found not in config.published:
        expected = config.published.items()
        choices = " or ".join(f"{kind!r} ({origin})" for kind, origin in expected)
        why = f", {config.not_read[str(found)]}" if found in config.not_read else ""
        raise CheckpointError(
            f"{folder}/config.json: model_type is {found!r}{why}; expected {choices}"
        )
