"""Features made elsewhere, read scene by scene: our own .arrow files, .npz, or .safetensors."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from threedrs_components.outside_json import value_of
from threedrs_components.teachers.fingerprints import check_images
from threedrs_components.teachers.precomputed.files import (
    FINGERPRINTS,
    FRAME_NAMES,
    SPECIAL_TOKENS,
    array_key,
    files_by_scene,
    grid_of,
)
from threedrs_components.teachers.teacher import TeacherCard
from threedrs_platform.errors import DataError
from threedrs_platform.records import FeatureMap, Scene
from threedrs_platform.store.features import check_frames, read_features

if TYPE_CHECKING:
    from threedrs_components.teachers.precomputed.config import PrecomputedConfig

CURE = "or set teachers.*.frames: assumed, if you know that they are this scene's frames in order"
MADE_ELSEWHERE = {
    "known": "made elsewhere",
    "assumed": "made elsewhere, where files do not say of which frames those are assumed",
}
"""Preprocessing, by what the configuration says of frames."""
SAMPLED_BYTES = 1 << 16


@dataclass(frozen=True)
class FeatureFile:
    """What one file holds."""

    values: NDArray[np.floating[Any]]
    """[F, tokens, channels] or [F, rows, columns, channels], perhaps with a leading 1"""
    frame_names: tuple[str, ...] | None
    """None where the file does not say"""
    special_tokens: int = 0
    fingerprints: NDArray[np.uint8] | None = None
    """[F, n] of the images, see `teachers/fingerprints.py`"""


class PrecomputedTeacher:
    """Hands out stored features in place of a model."""

    def __init__(self, config: PrecomputedConfig) -> None:
        self.config, self.root = config, Path(config.checkpoint)
        self._files = files_by_scene(self.root)
        some = next(iter(self._files))
        self.grid = min(self._features(some).features.shape[1:3])
        self.card = TeacherCard(
            config.teacher,
            folder_digest(self.root),
            config.licence,
            MADE_ELSEWHERE[config.frames],
            config.layer,
            f"precomputed {config.key or ''}".strip(),
        )

    def scene_features(self, scene: Scene) -> Tensor:
        """Stored features [F, rows, columns, channels] float32 of a scene's frames.

        Raises:
            DataError: there are none, or they are of other frames.
        """
        if scene.scene_id not in self._files:
            raise DataError(f"{self.root}: holds no features of scene {scene.scene_id}")
        found = self._features(scene.scene_id)
        self._check_frames(found, scene)
        return torch.from_numpy(np.ascontiguousarray(found.features, dtype=np.float32))

    def seen(self, height: int, width: int) -> tuple[float, float]:
        """All of a frame, as far as is known."""
        del height, width
        return 1.0, 1.0

    def _check_frames(self, found: FeatureMap, scene: Scene) -> None:
        if self.config.frames == "assumed":
            check_frames(_named(found, scene), scene.frame_names)
            return
        path = self._files[scene.scene_id]
        try:
            seen = check_images(found, scene.images)
        except DataError as error:
            raise DataError(f"{path}: {error}; {CURE}") from error
        if found.frame_names or seen:
            check_frames(_named(found, scene), scene.frame_names)
            return
        raise DataError(
            f"{path}: does not say of which frames of scene {scene.scene_id} its features are, and "
            f"an equal number is no proof: store their names as {FRAME_NAMES!r}; {CURE}"
        )

    def _features(self, scene_id: str) -> FeatureMap:
        path = self._files[scene_id]
        stored = READERS[path.suffix](path, self.config)
        try:
            values = on_grid(stored, self.config.rows)
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error
        return FeatureMap(scene_id, stored.frame_names or (), values, stored.fingerprints)


def on_grid(stored: FeatureFile, rows: int | None) -> NDArray[np.floating[Any]]:
    """[F, rows, columns, channels] of stored tokens.

    Raises:
        ValueError: another number of dimensions, or a grid that cannot be told.
    """
    values = stored.values
    grid = grid_of(values.shape, stored.special_tokens, rows)
    if values.ndim in (4, 5) and values.shape[0] == 1:
        values = values[0]
    if values.ndim == 4:
        return values
    values = values[:, stored.special_tokens :]
    return values.reshape(len(values), *grid, values.shape[-1])


def _named(found: FeatureMap, scene: Scene) -> FeatureMap:
    """With the scene's own frame names where the file has none; their number must do."""
    if found.frame_names or len(found.features) != len(scene.frame_names):
        names = found.frame_names or tuple(map(str, range(len(found.features))))
        return FeatureMap(scene.scene_id, names, found.features)
    return FeatureMap(scene.scene_id, scene.frame_names, found.features)


def folder_digest(root: Path) -> str:
    """sha256 over the names, sizes, beginnings and ends of all visible files under a folder.

    Feature folders hold tens of gigabytes; the steps of a workflow digest all of it besides.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name = path.relative_to(root)
        if any(part.startswith(".") for part in name.parts):
            continue
        size = path.stat().st_size
        digest.update(f"{name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(SAMPLED_BYTES))
            file.seek(max(0, size - SAMPLED_BYTES))
            digest.update(file.read(SAMPLED_BYTES))
    return digest.hexdigest()


def _read_arrow(path: Path, config: PrecomputedConfig) -> FeatureFile:
    stored = read_features(path)
    header = stored.header
    if (header.teacher, header.layer) != (config.teacher, config.layer):
        raise DataError(
            f"{path}: features of teacher {header.teacher!r}, layer {header.layer}; asked for "
            f"{config.teacher!r}, layer {config.layer} (teachers.*.teacher and .layer)"
        )
    found = stored.features
    return FeatureFile(found.features, found.frame_names, fingerprints=found.fingerprints)


def _read_npz(path: Path, config: PrecomputedConfig) -> FeatureFile:
    try:
        with np.load(path, allow_pickle=False) as content:
            names = content.files
            values = content[array_key(path, config, names)]
            special = int(content[SPECIAL_TOKENS]) if SPECIAL_TOKENS in names else 0
            frames = tuple(map(str, content[FRAME_NAMES])) if FRAME_NAMES in names else None
            looks = content[FINGERPRINTS] if FINGERPRINTS in names else None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable .npz file of arrays: {error}") from error
    return FeatureFile(values, frames, special, looks)


def _read_safetensors(path: Path, config: PrecomputedConfig) -> FeatureFile:
    try:
        with safe_open(path, framework="pt") as content:
            metadata: Mapping[str, str] = content.metadata() or {}
            names = list(content.keys())
            values = content.get_tensor(array_key(path, config, names)).float().numpy()
            special = int(content.get_tensor(SPECIAL_TOKENS)) if SPECIAL_TOKENS in names else 0
            frames = _frame_names(metadata[FRAME_NAMES]) if FRAME_NAMES in metadata else None
            looks = content.get_tensor(FINGERPRINTS).numpy() if FINGERPRINTS in names else None
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable .safetensors file: {error}") from error
    return FeatureFile(values, frames, special, looks)


def _frame_names(text: str) -> tuple[str, ...]:
    """Names of frames in the metadata of a file of safetensors.

    Raises:
        ValueError: no list of names.
    """
    found = value_of(text)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ValueError(f"{FRAME_NAMES} is no list of names: {text[:40]}")
    return tuple(found)


READERS: dict[str, Callable[[Path, PrecomputedConfig], FeatureFile]] = {
    ".arrow": _read_arrow,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
}
