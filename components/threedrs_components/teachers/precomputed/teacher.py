"""Features made elsewhere, read scene by scene: our own .arrow files, .npz, or .safetensors."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from threedrs_components.outside_json import value_of
from threedrs_components.teachers.fingerprints import check_images
from threedrs_components.teachers.teacher import TeacherCard
from threedrs_platform.errors import CheckpointError, DataError
from threedrs_platform.records import FeatureMap, Scene
from threedrs_platform.store.features import check_frames, read_features

if TYPE_CHECKING:
    from threedrs_components.teachers.precomputed.config import PrecomputedConfig

KEYS = ("feature", "features", "arr_0")
"""Names that makers give to the array."""
SPECIAL_TOKENS = "ps_idx"
"""Array that 3DRS's extraction keeps beside VGGT's tokens: how many come before the patches."""
FRAME_NAMES = "frame_names"
WIDE_GRIDS = {768: 24, 1036: 28}
"""Rows of grids that are no squares, by number of tokens: FLARE at 512 x 384, VGGT at 518 x 392."""
FINGERPRINTS = "fingerprints"
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
        self._files = _files_by_scene(self.root)
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
    if values.ndim in (4, 5) and values.shape[0] == 1:
        values = values[0]
    if values.ndim == 4:
        return values
    if values.ndim != 3:
        raise ValueError(
            f"features of shape {list(values.shape)}; expected [frames, tokens, channels] or "
            "[frames, rows, columns, channels]"
        )
    values = values[:, stored.special_tokens :]
    tokens = values.shape[1]
    height = rows or WIDE_GRIDS.get(tokens) or isqrt(tokens)
    if not tokens or tokens % height or (rows is None and _is_guess(tokens)):
        raise ValueError(
            f"{tokens} tokens per frame make no {'square' if rows is None else f'{rows} rows'}; "
            "say how many rows the grid has with teachers.*.rows"
        )
    return values.reshape(len(values), height, -1, values.shape[-1])


def _is_guess(tokens: int) -> bool:
    return tokens not in WIDE_GRIDS and isqrt(tokens) ** 2 != tokens


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


def _files_by_scene(root: Path) -> dict[str, Path]:
    """`<scene>.<suffix>`, or the one such file inside `<scene>/`."""
    if not root.is_dir():
        raise CheckpointError(f"{root}: no such folder of precomputed features")
    found: dict[str, Path] = {}
    # Hidden files are no data: a step's key does not hold them.
    for path in sorted(path for path in root.iterdir() if not path.name.startswith(".")):
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        files = [e for e in inside if e.suffix in READERS and not e.name.startswith(".")]
        if len(files) > 1 or (files and path.stem in found):
            raise CheckpointError(
                f"{path}: more than one file of features for a scene: "
                + ", ".join(each.name for each in [*files, found.get(path.stem, path)][:3])
            )
        if files:
            found[path.name if path.is_dir() else path.stem] = files[0]
    if not found:
        raise CheckpointError(
            f"{root}: no features here; expected {', '.join(READERS)} files named after scenes, "
            "or one in a folder per scene"
        )
    return found


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
            values = content[_key(path, config, [n for n in names if n not in _BESIDE])]
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
            key = _key(path, config, [name for name in names if name not in _BESIDE])
            values = content.get_tensor(key).float().numpy()
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


def _key(path: Path, config: PrecomputedConfig, names: list[str]) -> str:
    """The array to read."""
    if config.key is not None:
        if config.key not in names:
            raise DataError(f"{path}: no array {config.key!r}; there are {', '.join(names)}")
        return config.key
    usual = [name for name in KEYS if name in names] or (names if len(names) == 1 else [])
    if not usual:
        raise DataError(f"{path}: say which array with teachers.*.key: {', '.join(names)}")
    return usual[0]


_BESIDE = (SPECIAL_TOKENS, FRAME_NAMES, FINGERPRINTS)
READERS: dict[str, Callable[[Path, PrecomputedConfig], FeatureFile]] = {
    ".arrow": _read_arrow,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
}
