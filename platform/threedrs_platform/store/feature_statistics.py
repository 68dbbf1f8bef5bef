"""Mean and deviation of stored features: computed once by an extraction, read by training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threedrs_platform.errors import DataError
from threedrs_platform.store.features import FeatureFolder

STATISTICS = "statistics.json"


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and deviation of every channel over all tokens of some scenes."""

    scene_ids: tuple[str, ...]
    """Sorted"""
    mean: NDArray[np.float64]
    """[channels]"""
    std: NDArray[np.float64]
    """[channels]"""
    tokens: int


def feature_statistics(folder: FeatureFolder, scene_ids: Sequence[str]) -> FeatureStatistics:
    """Accumulate the statistics of some scenes in float64, one scene in memory at a time.

    Raises:
        DataError: there is no scene.
    """
    if not scene_ids:
        raise DataError("statistics need the features of at least one scene")
    tokens, total, squares = 0, np.float64(0), np.float64(0)
    for scene_id in sorted(scene_ids):
        features = folder[scene_id].features
        values = features.reshape(-1, features.shape[-1]).astype(np.float64)
        tokens += len(values)
        total, squares = total + values.sum(0), squares + (values**2).sum(0)
    mean = np.asarray(total / tokens)
    variance = np.maximum(squares / tokens - mean**2, 0)
    return FeatureStatistics(tuple(sorted(scene_ids)), mean, np.sqrt(variance), tokens)


def write_statistics(folder: Path, scene_ids: Sequence[str]) -> FeatureStatistics:
    """Compute the statistics of some scenes of a feature folder and store them beside the files."""
    statistics = feature_statistics(FeatureFolder(folder, max_open=1), scene_ids)
    content = {
        "scenes": statistics.scene_ids,
        "mean": statistics.mean.tolist(),
        "std": statistics.std.tolist(),
        "tokens": statistics.tokens,
    }
    (folder / STATISTICS).write_text(json.dumps(content))
    return statistics


def read_statistics(folder: Path) -> FeatureStatistics:
    """The statistics that `write_statistics` stored.

    Raises:
        DataError: there are none.
    """
    path = folder / STATISTICS
    if not path.is_file():
        raise DataError(f"{path}: no statistics of the features here")
    content = json.loads(path.read_text())
    return FeatureStatistics(
        tuple(content["scenes"]),
        np.asarray(content["mean"]),
        np.asarray(content["std"]),
        int(content["tokens"]),
    )


def statistics_of(folder: FeatureFolder, scene_ids: Sequence[str]) -> FeatureStatistics:
    """Statistics of these very scenes: the stored ones if they are of these, else computed."""
    if (folder.root / STATISTICS).is_file():
        stored = read_statistics(folder.root)
        if stored.scene_ids == tuple(sorted(scene_ids)):
            return stored
    return feature_statistics(folder, scene_ids)
