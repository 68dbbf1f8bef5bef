"""JSON that came with weights, from whoever published them: every fault names the file. No torch.

What people write by hand, and annotations, are read by `json_files`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from threedrs_platform.errors import CheckpointError

DEEPEST = 32
"""Values inside values that a file may have; published ones have 6 at most."""
CURE = "take the file that was published with the weights"


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object of a file.

    Raises:
        CheckpointError: it cannot be read, or is something else.
    """
    try:
        return object_of(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: cannot be read: {error}; {CURE}") from error


def object_of(text: bytes | str) -> dict[str, Any]:
    """The JSON object of a text.

    Raises:
        ValueError: no JSON, something else than an object, or nested more than `DEEPEST` deep.
    """
    found = value_of(text)
    if not isinstance(found, dict):
        raise ValueError(f"it holds no object, but a value of type {type(found).__name__}")
    return found


def value_of(text: bytes | str) -> Any:
    """The JSON value of a text.

    Raises:
        ValueError: no JSON, or nested more than `DEEPEST` deep.
    """
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"it is nested more than {DEEPEST} deep") from error
    if _is_deeper(found, DEEPEST):
        raise ValueError(f"it is nested more than {DEEPEST} deep")
    return found


def part_of(stored: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    """An object inside another, empty where there is none.

    Args:
        stored: what a file holds.
        name: of the part.
        path: of the file, for messages.

    Raises:
        CheckpointError: something else stands there.
    """
    found = stored.get(name, {})
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{path}: {name} is {told(found)}, where an object belongs; {CURE}")
    return found


def told(value: object) -> str:
    """A value for a message, cut short."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _is_deeper(value: object, levels: int) -> bool:
    """Level by level, so that no depth is too much for it."""
    inside = [value]
    for _ in range(levels):
        inside = [each for one in inside for each in _inside(one)]
        if not inside:
            return False
    return True


def _inside(value: object) -> list[Any]:
    if isinstance(value, dict):
        return [*value.values()]
    return value if isinstance(value, list) else []
