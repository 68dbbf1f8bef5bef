"""Which scenes belong to which split, as a file of the scenes artifact."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from threedrs_components.json_files import read_json
from threedrs_components.scenes.scene_names import one_inside
from threedrs_components.scenes.source import SceneSource
from threedrs_platform.errors import DataError

SPLITS_FILE = "splits.json"
ALL = "all"
"""The split of every scene; every source has it."""


def write_splits(folder: Path, source: SceneSource) -> None:
    """Write the splits of a source beside whatever else stands for it."""
    splits = {name: list(source.scenes(name)) for name in source.splits()}
    (folder / SPLITS_FILE).write_text(json.dumps(splits, indent=1))


def read_splits(folder: Path) -> dict[str, list[str]]:
    """Scene ids by split; empty where a folder names none.

    Raises:
        DataError: the file is none of splits, or a scene id in it leads out of the folder.
    """
    path = folder / SPLITS_FILE
    if not path.is_file():
        return {}
    found = read_json(path)
    try:
        splits = TypeAdapter(dict[str, list[str]]).validate_python(found, strict=True)
        for scene_id in {each for split in splits.values() for each in split}:
            one_inside(folder, scene_id)
    except ValidationError as error:
        message = f"{path}: scene ids by split are expected, as {{'val': ['scene0011_00']}}"
        raise DataError(message) from error
    except ValueError as error:
        raise DataError(f"{path}: scene id {error}") from error
    return splits


def scenes_of(folder: Path, split: str) -> Sequence[str]:
    """Scene ids of a split of a scenes artifact, sorted.

    Raises:
        DataError: there is no such split.
    """
    return chosen_split(read_splits(folder), split, "these scenes")


def chosen_split(splits: Mapping[str, Sequence[str]], split: str, whose: str) -> Sequence[str]:
    """Scene ids of a split, sorted.

    Raises:
        DataError: there is no such split; names those there are.
    """
    if split not in splits:
        known = ", ".join(sorted({ALL, *splits}))
        raise DataError(f"{whose}: no split {split!r}; known: {known}")
    return sorted(splits[split])
