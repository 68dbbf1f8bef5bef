"""Where a student starts, checked by file headers alone: before anything runs. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from threedrs_components.outside_json import CURE
from threedrs_components.students.attention_names import refuse_unnamed_attention
from threedrs_components.students.folder import PARTS, is_student, read_config, refuse_kind
from threedrs_components.students.lmms_lab import HEAD_PREFIX, MODEL_TYPES, refuse_contradictions
from threedrs_components.students.settings import StudentSettings
from threedrs_components.students.weight_files import stored_tensors
from threedrs_platform.errors import CheckpointError

OF_WRONG_VALUES: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What reading raises where files hold other values than any model has."""

MOST_LAYERS = 1000


@contextmanager
def reading(folder: Path, *others: type[Exception]) -> Iterator[None]:
    """Read published files, none of which is ours: what fails on their values is their fault.

    Args:
        folder: of the weights.
        others: what else is raised of wrong values.

    Raises:
        CheckpointError: in place of those errors.
    """
    try:
        yield
    except CheckpointError:
        raise
    except (*OF_WRONG_VALUES, *others) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise CheckpointError(
            f"{folder}: config.json, tokenizer and weights make no model together ({why}); take "
            "all files as they were published"
        ) from error


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


def check_published(config: StudentSettings, folder: Path, for_use: bool = True) -> dict[str, Any]:
    """The config.json of published weights that may be loaded, as far as headers tell.

    Args:
        config: of the student.
        folder: of the weights.
        for_use: whether the settings of use must fit them, too; a start is shared by all of these.

    Raises:
        CheckpointError: they are of another model, or no model.
    """
    with reading(folder):
        return _checked(config, folder, for_use)


def _checked(config: StudentSettings, folder: Path, for_use: bool) -> dict[str, Any]:
    tensors = stored_tensors(folder)
    stored = read_config(folder)
    refuse_model_type(folder, stored.get("model_type"), config)
    if stored.get("quantization_config"):
        raise CheckpointError(
            f"{folder}/config.json: the weights are quantised (quantization_config), and would be "
            "read as if they were not; take the release in bfloat16"
        )
    if stored["model_type"] in MODEL_TYPES:
        refuse_contradictions(folder, stored, tensors, config, for_use)
    config.refuse_weights(folder, stored, tensors)
    refuse_unnamed_attention(folder, tensors)
    _refuse_too_deep(folder, stored)
    return stored


def _refuse_too_deep(folder: Path, stored: Mapping[str, Any]) -> None:
    """A number of layers that would be built for hours is a slip of the file."""
    for part in (stored, *(stored[name] for name in PARTS if isinstance(stored.get(name), dict))):
        for name in ("num_hidden_layers", "depth"):
            if isinstance(part.get(name), int) and part[name] > MOST_LAYERS:
                raise CheckpointError(
                    f"{folder}/config.json: {name} is {part[name]}, more than any model has; {CURE}"
                )


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
