"""Files of features made elsewhere: which there are, and their grid, by headers. No torch."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib import format as npy

from threedrs_components.tensor_headers import read_header
from threedrs_platform.errors import CheckpointError, DataError
from threedrs_platform.store.features import read_features

if TYPE_CHECKING:
    from threedrs_components.teachers.precomputed.config import PrecomputedConfig

SUFFIXES = (".arrow", ".npz", ".safetensors")
KEYS = ("feature", "features", "arr_0")
"""Names that makers give to the array."""
SPECIAL_TOKENS = "ps_idx"
"""Array that 3DRS's extraction keeps beside VGGT's tokens: how many come before the patches."""
FRAME_NAMES = "frame_names"
FINGERPRINTS = "fingerprints"
BESIDE = (SPECIAL_TOKENS, FRAME_NAMES, FINGERPRINTS)
"""Arrays that are no features."""
WIDE_GRIDS = {768: 24, 1036: 28}
"""Rows of grids that are no squares, by number of tokens: FLARE at 512 x 384, VGGT at 518 x 392."""


def stored_grid(config: PrecomputedConfig) -> tuple[int, int]:
    """Rows and columns of the features of the first scene, by the header of its file.

    Raises:
        CheckpointError: there are none, or the file is something else.
        DataError: they are of no grid that can be told.
    """
    path = next(iter(files_by_scene(Path(config.checkpoint)).values()))
    if path.suffix == ".arrow":
        return grid_of(read_features(path).features.features.shape, 0, config.rows)
    try:
        shape, special = (_of_npz if path.suffix == ".npz" else _of_safetensors)(path, config)
        return grid_of(shape, special, config.rows)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: {error}") from error


def grid_of(shape: Sequence[int], special: int, rows: int | None) -> tuple[int, int]:
    """Rows and columns of stored tokens.

    Args:
        shape: of the array: [F, tokens, C] or [F, rows, columns, C], perhaps with a leading 1.
        special: tokens before the patches.
        rows: as configured.

    Raises:
        ValueError: another number of dimensions, or a grid that cannot be told.
    """
    sides = list(shape)
    if len(sides) in (4, 5) and sides[0] == 1:
        del sides[0]
    if len(sides) == 4:
        return sides[1], sides[2]
    if len(sides) != 3:
        raise ValueError(
            f"features of shape {list(shape)}; expected [frames, tokens, channels] or "
            "[frames, rows, columns, channels]"
        )
    tokens = max(0, sides[1] - special)
    height = rows or WIDE_GRIDS.get(tokens) or isqrt(tokens)
    is_guess = tokens not in WIDE_GRIDS and isqrt(tokens) ** 2 != tokens
    if not tokens or tokens % height or (rows is None and is_guess):
        raise ValueError(
            f"{tokens} tokens per frame make no {'square' if rows is None else f'{rows} rows'}; "
            "say how many rows the grid has with teachers.*.rows"
        )
    return height, tokens // height


def _of_npz(path: Path, config: PrecomputedConfig) -> tuple[Sequence[int], int]:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        with archive.open(f"{array_key(path, config, names)}.npy") as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, _ = read(file)
    with np.load(path, allow_pickle=False) as content:
        return shape, int(content[SPECIAL_TOKENS]) if SPECIAL_TOKENS in names else 0


def _of_safetensors(path: Path, config: PrecomputedConfig) -> tuple[Sequence[int], int]:
    found = read_header(path.parent, path.name)
    shape = found[array_key(path, config, found)].shape
    if SPECIAL_TOKENS not in found:
        return shape, 0
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as content:
        return shape, int(content.get_tensor(SPECIAL_TOKENS))


def files_by_scene(root: Path) -> dict[str, Path]:
    """`<scene>.<suffix>`, or the one such file inside `<scene>/`.

    Raises:
        CheckpointError: no folder, no features, or several files for one scene.
    """
    if not root.is_dir():
        raise CheckpointError(f"{root}: no such folder of precomputed features")
    found: dict[str, Path] = {}
    # Hidden files are no data: a step's key does not hold them.
    for path in sorted(path for path in root.iterdir() if not path.name.startswith(".")):
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        files = [e for e in inside if e.suffix in SUFFIXES and not e.name.startswith(".")]
        if len(files) > 1 or (files and path.stem in found):
            raise CheckpointError(
                f"{path}: more than one file of features for a scene: "
                + ", ".join(each.name for each in [*files, found.get(path.stem, path)][:3])
            )
        if files:
            found[path.name if path.is_dir() else path.stem] = files[0]
    if not found:
        raise CheckpointError(
            f"{root}: no features here; expected {', '.join(SUFFIXES)} files named after scenes, "
            "or one in a folder per scene"
        )
    return found


def array_key(path: Path, config: PrecomputedConfig, stored: Iterable[str]) -> str:
    """The array to read, of those that a file holds.

    Raises:
        DataError: it has no array of the configured name, or several and none is configured.
    """
    names = [name for name in stored if name not in BESIDE]
    if config.key is not None:
        if config.key not in names:
            raise DataError(f"{path}: no array {config.key!r}; there are {', '.join(names)}")
        return config.key
    usual = [name for name in KEYS if name in names] or (names if len(names) == 1 else [])
    if not usual:
        raise DataError(f"{path}: say which array with teachers.*.key: {', '.join(names)}")
    return usual[0]
